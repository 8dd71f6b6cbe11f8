"""Refuses to run tasks: `python -m runpod_sdk_runtime.task.runner`."""

import sys


def main() -> None:
    sys.exit(
        "worker-tetra does not run tasks (@app.task), because it is a Serverless worker and tasks run on Pods. "
        "Remove image= from the task, or declare the function with @app.queue."
    )


if __name__ == "__main__":
    main()
