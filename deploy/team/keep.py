"""Make the buckets, back them up with the databases, and restore both.

    python deploy/team/keep.py buckets | backup FOLDER | restore FOLDER

Databases are found by PGHOST, PGPORT, PGUSER and PGPASSWORD, the store by AWS_ENDPOINT_URL and AWS_*.
"""

import argparse
import os
import subprocess
from pathlib import Path

import boto3

DATABASES = ("mlflow", "mlflow_auth", "prefect")
BUCKETS = ("mlflow", "dvc")


def make_buckets() -> None:
    s3 = boto3.client("s3")
    there = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
    for bucket in BUCKETS:
        if bucket not in there:
            s3.create_bucket(Bucket=bucket)


def backup(folder: Path) -> None:
    """Databases first: every file that they name is then in the buckets' copy."""
    folder.mkdir(parents=True)
    for database in DATABASES:
        file = folder / f"{database}.dump"
        subprocess.run(["pg_dump", "--format=custom", f"--file={file}", database], check=True)
    s3 = boto3.client("s3")
    for bucket in BUCKETS:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for entry in page.get("Contents", []):
                file = (folder / bucket / entry["Key"]).resolve()
                if not file.is_relative_to((folder / bucket).resolve()):
                    raise SystemExit(f"The bucket {bucket} has a key that leaves the folder: {entry['Key']}")
                file.parent.mkdir(parents=True, exist_ok=True)
                s3.download_file(bucket, entry["Key"], str(file))


def restore(folder: Path) -> None:
    """Files first. The databases must exist; what is in them is replaced. Stop both servers before."""
    make_buckets()
    s3 = boto3.client("s3")
    for bucket in BUCKETS:
        for file in sorted((folder / bucket).rglob("*")):
            if file.is_file():
                s3.upload_file(str(file), bucket, file.relative_to(folder / bucket).as_posix())
    for database in DATABASES:
        options = ["--clean", "--if-exists", "--no-owner", "--exit-on-error", "--single-transaction"]
        subprocess.run(
            ["pg_restore", *options, f"--dbname={database}", folder / f"{database}.dump"], check=True
        )


def main() -> None:
    os.umask(0o077)  # dumps hold the hashes of passwords
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("action", choices=["buckets", "backup", "restore"])
    parser.add_argument("folder", type=Path, nargs="?")
    arguments = parser.parse_args()
    if arguments.action == "buckets":
        make_buckets()
    elif arguments.folder is None:
        parser.error(f"{arguments.action} needs a folder")
    else:
        {"backup": backup, "restore": restore}[arguments.action](arguments.folder)


if __name__ == "__main__":
    main()
