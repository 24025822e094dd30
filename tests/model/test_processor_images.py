"""The processor, training, evaluation and chat see the same pixels, however a picture is given."""

import base64
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from drawn_pictures import drawing, encoded, exif, transparent, turned

from parrot.data.images import decode
from parrot.model.registered import ParrotProcessor
from parrot.training.conversations import ConversationCollator, WatchedCollator
from parrot.training.watching import SEEN


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A web server on this machine, and the folder whose files it gives."""
    folder = tmp_path_factory.mktemp("served")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()


PICTURES = {
    "exif.jpg": encoded(turned(6), "JPEG", exif=exif(6)),
    "alpha.png": transparent("RGBA"),
    "palette.png": transparent("P"),
    "grey16.png": encoded(PIL.Image.fromarray(np.linspace(0, 65535, 96).astype(np.uint16).reshape(8, 12))),
    "cmyk.jpg": encoded(drawing().convert("CMYK"), "JPEG"),
    "plain.jpg": encoded(drawing(), "JPEG"),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("pad", [True, False])
def test_the_processor_sees_what_training_sees(
    processor: ParrotProcessor,
    address: tuple[str, Path],
    name: str,
    pad: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(processor, "pad_to_square", pad)
    content, (server, folder) = PICTURES[name], address
    file = folder / name
    file.write_bytes(content)
    chat = [{"role": "user", "content": "<image>\nWhat?"}, {"role": "assistant", "content": "It."}]
    row = {"id": "1", "messages": chat, "images": [content]}
    expected = ConversationCollator(processor, 64)([row])["pixel_values"]
    assert torch.equal(processor.encode_images([decode(content)]), expected)  # as evaluation and chat do
    text = base64.b64encode(content).decode()
    with PIL.Image.open(file) as opened:
        for image in (opened, file, str(file), f"{server}/{name}", content, text, f"data:x;base64,{text}"):
            called = processor(images=[image], text=["<image>"], return_tensors="pt")["pixel_values"]
            assert torch.equal(called, expected), type(image)
            assert torch.equal(
                processor(images=[image], text=None, return_tensors="pt")["pixel_values"], expected
            )
            part = {"type": "image", "image": image}
            templated = processor.apply_chat_template(
                [{"role": "user", "content": [part, {"type": "text", "text": "What?"}]}],
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            )
            assert torch.equal(templated["pixel_values"], expected), type(image)


def test_the_background_is_saved_with_the_processor(processor: ParrotProcessor, tmp_path: Path) -> None:
    other = ParrotProcessor(
        processor.image_processor, processor.tokenizer, image_seq_length=5, background="#00ff00"
    )
    other.save_pretrained(tmp_path)
    loaded = ParrotProcessor.from_pretrained(tmp_path)
    assert loaded.background == "#00ff00"
    content = PICTURES["alpha.png"]
    expected = loaded.encode_images([decode(content, "#00ff00")])
    assert torch.equal(loaded.encode_images([content]), expected)
    assert not torch.equal(processor.encode_images([content]), expected)


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        ("no/such.png", "neither a file nor an address, and as a picture in text: broken base64: '.'"),
        ("nosuch", "from 'nosuch': "),
        ("data:text/html,x", "a data URI that begins with"),
        (b"<html>", r"a web page \(HTML\)"),
        ("http://127.0.0.1:9/x.png", "from 'http://127.0.0.1:9/x.png': "),
        ("http://[", "from 'http://\\['"),
        (PIL.Image.new("F", (4, 4)), "floating-point values"),
    ],
)
def test_what_the_processor_cannot_read_is_one_sentence(
    processor: ParrotProcessor, image: Any, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(ValueError, match=rf"sample 0: no image could be read.*{problem}"):
        processor(images=[image], text=["<image>"])


def test_a_broken_picture_in_training_is_told_of_its_record(processor: ParrotProcessor) -> None:
    chat = [{"role": "user", "content": "<image>\nWhat?"}, {"role": "assistant", "content": "It."}]
    row = {"id": "r7", "source": "s", "language": "en", "messages": chat}
    (seen,) = WatchedCollator(processor, 64)([{**row, "images": [PICTURES["plain.jpg"][:100]]}])[SEEN]
    assert (seen.id, seen.images, seen.labels) == ("r7", 0, 0)
    assert "image 0: no image could be read" in seen.broken
