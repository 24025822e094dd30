"""What Prefect's server does of itself: it tells whoever is responsible for data, and notices dead workers.

    python deploy/automations.py --webhook https://hooks.example.org/…

With PREFECT_API_URL set to the server's. Called again it puts the same automations anew.
"""

import argparse
import json
from datetime import timedelta

from prefect.automations import Automation
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import CallWebhook, ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture

from parrot.network import reach_local_directly

SILENCE = timedelta(minutes=6)
"""Runs wait for a server for 4 minutes (prefect.toml), and one that is back has heard of nobody meanwhile."""


def tell_of_bad_data(url: str) -> Automation:
    """POST the sentence of a validation that fails, as Slack, Mattermost and others take it."""
    webhook = Webhook(url=url).save("parrot-data", overwrite=True)
    text = "{{ event.resource.name }} refused the data: {{ event.payload.reason }}"
    return Automation(
        name="parrot: data are refused",
        trigger=EventTrigger(
            expect={"parrot.stage-failed"},
            match={"prefect.resource.id": "parrot.stage.validate*"},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[CallWebhook(block_document_id=webhook, payload=json.dumps({"text": text}))],
    )


def notice_dead_workers() -> Automation:
    """A run that is silent counts as crashed, and the pipeline has another worker take its stage over."""
    return Automation(
        name="parrot: a worker has died",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENCE,
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message="Nothing was heard of its worker.")],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--webhook", metavar="URL", help="whom to tell of data that are refused")
    url = parser.parse_args().webhook
    reach_local_directly()
    for automation in [notice_dead_workers(), *([tell_of_bad_data(url)] if url else [])]:
        with get_client(sync_client=True) as client:
            for earlier in client.read_automations_by_name(automation.name):
                client.delete_automation(earlier.id)
        automation.create()
        print(f"made: {automation.name}")


if __name__ == "__main__":
    main()
