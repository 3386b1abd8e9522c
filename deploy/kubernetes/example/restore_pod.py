"""Make of the StatefulSet, as JSON on standard input, a pod that restores the newest backup, or FILE of /backups.

    restore_pod.py [FILE]

docs/operations/kubernetes.md says when.
"""
# ruff: noqa: INP001 - a script

import json
import sys

NAME = "rescind-restore"


def restore_pod(stateful_set: dict, file: str | None = None) -> dict:
    """A pod with the volumes and settings of the server's container, which ends when the backup is restored."""
    name, spec = stateful_set["metadata"]["name"], stateful_set["spec"]["template"]["spec"]
    (backup,) = (container for container in spec["initContainers"] if container["name"] == "backup")
    claims = [claim["metadata"]["name"] for claim in stateful_set["spec"]["volumeClaimTemplates"]]
    source = [f"/backups/{file}"] if file else ["--from", "/backups"]
    command = [backup["command"][0], "restore", *source, "--force"]
    container = {key: value for key, value in backup.items() if key != "restartPolicy"}
    volumes = [{"name": claim, "persistentVolumeClaim": {"claimName": f"{claim}-{name}-0"}} for claim in claims]
    kept = {key: value for key, value in spec.items() if key not in ("initContainers", "containers", "volumes")}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": NAME, "namespace": stateful_set["metadata"]["namespace"]},
        "spec": {
            **kept,
            "restartPolicy": "Never",
            "containers": [{**container, "name": "restore", "command": command}],
            "volumes": [*spec["volumes"], *volumes],
        },
    }


if __name__ == "__main__":
    json.dump(restore_pod(json.load(sys.stdin), *sys.argv[1:]), sys.stdout)
