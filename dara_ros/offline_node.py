"""Offline node: classifiers, augmentation, offline RL and export, with progress, ~/start and ~/cancel.

    ros2 run dara_ros offline_node --ros-args -p source:=source.h5 -p target:=target.h5 -p out:=runs/dara
    ros2 service call /offline_node/start std_srvs/srv/Trigger

It runs what `dara train` runs, in a thread beside the executor, so that services answer while it trains.
Parameters are read by ~/start: set others and start again, as often as you like.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import Trigger

from . import qos
from .diagnostics import Figures, Rate, publish_diagnostics, summary
from .errors import UserError
from .parameters import Parameter, declare
from .running import run_node

if TYPE_CHECKING:  # they need torch: without it, `main` ends with one line
    from .policies.train_config import TrainConfig
    from .policies.training import TrainResult

IDLE, TRAINING, DONE, CANCELLED, FAILED = "idle", "training", "done", "cancelled", "failed"
PROGRESS_PERIOD = 0.2  # s between two messages on ~/progress within one stage
CHECK_TIMEOUT = 20.0  # s that ~/start waits for the files to be opened and compared
PARAMETERS = (
    Parameter("source", "", "data set files and folders of the source domain, with : between them"),
    Parameter("target", "", "data set files and folders of the target domain, with : between them"),
    Parameter("out", "", "directory for policy.onnx, figures.json, checkpoints and TensorBoard scalars"),
    Parameter("algorithm", "bcq", "awr, bc, bcq, bear, brac-p, cql, mabe or mopo"),
    Parameter("eta", 0.1, "weight of delta_r in the source's rewards; 0: no augmentation", 0.0, 1e3),
    Parameter("mix", -1.0, "fraction of target rows in a batch; -1: as `settings` has it", -1.0, 1.0),
    Parameter("steps", 100_000, "gradient steps", 1, 10**9),
    Parameter("tune", 0, "so many more steps on the source come first, the rest on the target", 0, 10**9),
    Parameter("seed", 0, "seed of everything random", 0, 2**31 - 1),
    Parameter("threads", 1, "torch threads", 1, 1024),
    Parameter("resume", False, "go on from the checkpoint in `out`"),
    Parameter("paper", False, "where nothing is said, the papers' settings, not those that did best here"),
    Parameter("settings", "", "YAML file with further settings, like a config.yaml; parameters win over it"),
)


class OfflineNode(Node):
    """Trains on request.

    Services: ~/start, ~/cancel (std_srvs/Trigger). Topics: ~/progress (std_msgs/String, latched), a JSON
    object with state (idle, training, done, cancelled, failed), stage, done, total, figures, seconds, out,
    policy and message; /diagnostics at 1 Hz.
    """

    def __init__(self) -> None:
        super().__init__("offline_node")
        declare(self, PARAMETERS)
        self._progress_publisher = self.create_publisher(String, "~/progress", qos.STATE)
        self.create_service(Trigger, "~/start", self._on_start)
        self.create_service(Trigger, "~/cancel", self._on_cancel)
        publish_diagnostics(self, self._describe)
        self._training: _Training | None = None
        self._publish({"state": IDLE})

    def run(self, stop: threading.Event) -> None:
        """Training has a thread of its own, and all else is in callbacks."""
        stop.wait()

    def close(self) -> None:
        """Cancel a training that runs, and wait until its checkpoint is written."""
        if self._training is not None:
            self._training.cancel()
            self._training.join()
        self.get_logger().info(f"stopped: {summary(self._describe()[1])}")

    # -- services --------------------------------------------------------------------------------------

    def _on_start(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = True, ""
        if self._training is not None and self._training.running:
            response.success, response.message = False, "a training runs already; call ~/cancel first"
            return response
        try:
            training = _Training(self._config(), self._publish)
        except UserError as error:
            response.success, response.message = False, str(error)
            return response
        self._training = training
        refusal = training.start()
        response.success, response.message = not refusal, refusal or f"training into {training.config.out}"
        return response

    def _on_cancel(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._training is not None and self._training.running
        response.message = "nothing is being trained"
        if self._training is not None and response.success:
            self._training.cancel()
            response.message = f"stopping; a checkpoint stays in {self._training.config.out}"
        return response

    def _config(self) -> TrainConfig:
        """The settings of the next run, from the file in `settings` and the parameters.

        Raises:
            UserError: a parameter is missing or makes no sense.
        """
        from .policies.train_config import configure

        values = {parameter.name: self.get_parameter(parameter.name).value for parameter in PARAMETERS}
        for name in ("source", "target", "out"):
            if not values[name]:
                raise UserError(f"parameter {name} is empty; set it, then start again")
        for name in ("source", "target"):
            values[name] = values[name].split(os.pathsep)
        settings, paper = values.pop("settings"), values.pop("paper")
        if values["mix"] < 0:
            del values["mix"]
        return configure(values, Path(settings) if settings else None, paper)

    # -- topics ----------------------------------------------------------------------------------------

    def _publish(self, progress: dict[str, Any]) -> None:
        self._progress_publisher.publish(String(data=json.dumps(progress)))

    def _describe(self) -> tuple[str, Figures]:
        progress = self._training.progress if self._training is not None else {"state": IDLE}
        figures = {key: value for key, value in progress.items() if key not in ("figures", "message")}
        figures["rate_hz"] = self._training.rate.hz if self._training is not None else 0.0
        return progress["message"] if progress["state"] == FAILED else "", figures


class _Training:
    """One run of `train` in a thread, and how far it is."""

    def __init__(self, config: TrainConfig, publish: Callable[[dict[str, Any]], None]) -> None:
        self.config = config
        self.progress: dict[str, Any] = {"state": TRAINING, "stage": "check", "done": 0, "total": 1}
        self.progress |= {"figures": {}, "seconds": 0.0, "out": config.out, "policy": "", "message": ""}
        self._publish = publish
        self.rate = Rate()  # of the steps of the current stage
        self._published = 0.0
        self._since = time.monotonic()
        self._accepted = threading.Event()  # the files are open and fit together, or the run has ended
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, name="training")

    @property
    def running(self) -> bool:
        return self.progress["state"] == TRAINING

    def start(self) -> str:
        """Begin; returns why it cannot be done, or an empty string."""
        self._thread.start()
        self._accepted.wait(CHECK_TIMEOUT)
        return self.progress["message"] if self.progress["state"] == FAILED else ""

    def cancel(self) -> None:
        """Ask it to stop after the step that it is at."""
        self._cancelled.set()

    def join(self) -> None:
        """Wait for its end."""
        self._thread.join()

    def _run(self) -> None:
        from .policies.training import train

        try:
            self._end(train(self.config, self._on_progress, self._cancelled.is_set))
        except UserError as error:
            self._say(state=FAILED, message=str(error))
        except Exception as error:  # a thread's traceback would end in the log; the client waits for a word
            self._say(state=FAILED, message=f"{type(error).__name__}: {error}")
            raise
        finally:
            self._accepted.set()

    def _end(self, result: TrainResult) -> None:
        self._say(
            state=CANCELLED if result.stopped else DONE,
            policy=str(result.policy or ""),
            message=result.message,
        )

    def _on_progress(self, stage: str, done: int, total: int, figures: dict[str, float]) -> None:
        new_stage = stage != self.progress["stage"]
        if new_stage:
            self.rate = Rate()
        self.rate.add(time.monotonic(), done - self.progress["done"])
        recent = time.monotonic() - self._published < PROGRESS_PERIOD
        self._say(quiet=recent and not new_stage, stage=stage, done=done, total=total, figures=figures)
        self._accepted.set()

    def _say(self, quiet: bool = False, **changes: Any) -> None:
        elapsed = round(time.monotonic() - self._since, 3)
        self.progress = self.progress | changes | {"seconds": elapsed}
        if not quiet:
            self._published = time.monotonic()
            self._publish(self.progress)


def _make() -> OfflineNode:
    node = OfflineNode()
    try:
        from .policies import training  # noqa: F401  (takes seconds; the first ~/start shall not)
    except ImportError as error:
        raise UserError(f"{error}; run: pip install 'dara_ros[train]'") from error
    return node


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; a training that runs leaves its checkpoint. Exit status."""
    return run_node("offline_node", _make, args)


if __name__ == "__main__":
    sys.exit(main())
