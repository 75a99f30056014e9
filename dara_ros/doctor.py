"""What this machine has of what dara_ros can use: packages, ROS, PyBullet, real-time permissions."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from .errors import UserError
from .network import LOCALHOST, VARIABLE, middleware_environment
from .real_time import PERMIT_MEMORY, PERMIT_PRIORITY, permit_locked_memory

# Distribution and module of every package, by the extra that installs it; the core has none.
PACKAGES = {
    "": {
        "numpy": "numpy",
        "h5py": "h5py",
        "pyyaml": "yaml",
        "onnxruntime": "onnxruntime",
        "pydantic": "pydantic",
    },
    "train": {
        "torch": "torch",
        "tensorboard": "tensorboard",
        "onnx": "onnx",
        "onnxscript": "onnxscript",
        "matplotlib": "matplotlib",
    },
    "sim": {"pybullet": "pybullet", "gymnasium": "gymnasium", "pillow": "PIL"},
    "behaviours": {"stable-baselines3": "stable_baselines3"},
    "convert": {"minari": "minari", "rosbags": "rosbags"},
    "benchmark": {"scipy": "scipy"},
}
EXTRAS = {module: extra for extra, packages in PACKAGES.items() for module in packages.values()} | {
    "rclpy": "ros",
    "sensor_msgs": "ros",
    "std_msgs": "ros",
}
REAL_TIME_PRIORITY = 80  # as launch/config/deploy.yaml asks for


@dataclass(frozen=True)
class Check:
    """One finding. status: "ok", "missing" (something does not work) or "note" (could be better)."""

    part: str
    name: str
    status: str
    detail: str
    remedy: str = ""  # the command that mends it


def examine() -> list[Check]:
    """All checks, in reading order."""
    return [
        _python(),
        *(_package(d, m, extra) for extra, packages in PACKAGES.items() for d, m in packages.items()),
        _bfloat16(),
        _rclpy(),
        _middleware(),
        _network(),
        _security(),
        _shared_memory(),
        _kernel(),
        _scheduler(),
        _memory_lock(),
        _affinity(),
        _governor(),
    ]


def as_text(checks: list[Check]) -> str:
    """The findings for people, each with what mends it."""
    lines = []
    for check in checks:
        lines.append(f"{check.status:8s} {check.part:10s} {check.name:20s} {check.detail}")
        if check.remedy:
            lines.append(f"{'':9s}{'':10s} -> {check.remedy}")
    return "\n".join(lines)


# -- packages -------------------------------------------------------------------------------------------


def install_command(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install 'dara_ros[{extra}]'" if extra else "pip install dara_ros"


def _python() -> Check:
    return Check("core", "python", "ok", f"{platform.python_version()}, {sys.executable}")


def _package(distribution: str, module: str, extra: str) -> Check:
    part = extra or "core"
    if util.find_spec(module) is None:
        return Check(part, distribution, "missing", "not installed", install_command(extra))
    try:
        return Check(part, distribution, "ok", metadata.version(distribution))
    except metadata.PackageNotFoundError:
        return Check(part, distribution, "ok", "installed, version unknown")


def _bfloat16() -> Check:
    flags = _read(Path("/proc/cpuinfo"))
    if "amx_bf16" in flags:
        return Check("train", "bfloat16 products", "ok", "the processor has AMX")
    return Check("train", "bfloat16 products", "note", "the processor has no AMX: training uses float32")


# -- ROS ------------------------------------------------------------------------------------------------


def _rclpy() -> Check:
    found = util.find_spec("rclpy")
    if found is None or found.origin is None:
        remedy = f"source /opt/ros/DISTRO/setup.bash, or {install_command('ros')}"
        return Check("ros", "rclpy", "missing", "no ROS 2 in this environment", remedy)
    distro = os.environ.get("ROS_DISTRO")
    where = f"ROS {distro}" if distro else "from PyPI"
    return Check("ros", "rclpy", "ok", f"{where}, {Path(found.origin).parent}")


def _middleware() -> Check:
    chosen = os.environ.get("RMW_IMPLEMENTATION", "")
    domain = os.environ.get("ROS_DOMAIN_ID", "0")
    return Check("ros", "middleware", "ok", f"{chosen or 'the default of rclpy'}, ROS_DOMAIN_ID {domain}")


def _network() -> Check:
    try:
        chosen = middleware_environment()
    except UserError as error:
        return Check("ros", "network", "note", str(error))
    return Check(
        "ros", "network", "ok", f"{chosen[VARIABLE]} ({VARIABLE}; `localhost` unless something is said)"
    )


# Makes a participant that insists on security, from an enclave without keys: it is refused, and why tells.
_SECURE_PARTICIPANT = """
import rclpy
rclpy.init(args=["--ros-args", "--enclave", "/probe"])
rclpy.create_node("probe")
"""


def _security() -> Check:
    """Really ask for DDS security: what a middleware was built with is written nowhere."""
    if util.find_spec("rclpy") is None:
        return Check("ros", "DDS security", "note", "unknown without ROS 2")
    with tempfile.TemporaryDirectory() as keystore:
        Path(keystore, "enclaves", "probe").mkdir(parents=True)
        secure = {"ROS_SECURITY_ENABLE": "true", "ROS_SECURITY_STRATEGY": "Enforce"}
        environment = (
            os.environ | middleware_environment(LOCALHOST) | secure | {"ROS_SECURITY_KEYSTORE": keystore}
        )
        environment.pop("ROS_SECURITY_ENCLAVE_OVERRIDE", None)
        command = [sys.executable, "-c", _SECURE_PARTICIPANT]
        try:
            said = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=60.0
            ).stderr
        except subprocess.TimeoutExpired:
            return Check("ros", "DDS security", "note", "a participant with security did not answer")
    if "security libraries" not in said:
        return Check(
            "ros", "DDS security", "ok", "the middleware has it; docs/security.md says how to switch it on"
        )
    remedy = (
        "a ROS 2 installation (apt-get install ros-jazzy-ros-base ros-jazzy-sros2), then docs/security.md"
    )
    return Check(
        "ros", "DDS security", "note", "this middleware is built without the security plugins", remedy
    )


def _shared_memory() -> Check:
    try:
        space = os.statvfs("/dev/shm")
    except OSError:
        remedy = "mount -t tmpfs tmpfs /dev/shm"
        return Check("ros", "shared memory", "note", "no /dev/shm: DDS goes over UDP", remedy)
    free = space.f_bavail * space.f_frsize / 2**20
    if free < 64:
        remedy = "mount -o remount,size=256M /dev/shm (a container: --shm-size 256m)"
        return Check("ros", "shared memory", "note", f"{free:.0f} MiB free in /dev/shm, 64 wanted", remedy)
    return Check("ros", "shared memory", "ok", f"{free:.0f} MiB free in /dev/shm")


# -- real time --------------------------------------------------------------------------------------------


def _kernel() -> Check:
    if _read(Path("/sys/kernel/realtime")).strip() == "1":
        return Check("real time", "kernel", "ok", f"PREEMPT_RT, {platform.release()}")
    remedy = "apt-get install linux-image-rt-amd64 (on a Jetson: NVIDIA's RT kernel packages)"
    return Check("real time", "kernel", "note", f"{platform.release()} is no PREEMPT_RT kernel", remedy)


def _scheduler() -> Check:
    """Really ask for SCHED_FIFO: in containers neither root nor the limits tell the truth."""
    before, parameter = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(REAL_TIME_PRIORITY))
    except OSError:
        limit = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
        detail = f"not permitted (rtprio limit {limit})"
        return Check("real time", "SCHED_FIFO", "note", detail, PERMIT_PRIORITY)
    os.sched_setscheduler(0, before, parameter)
    return Check("real time", "SCHED_FIFO", "ok", f"permitted at priority {REAL_TIME_PRIORITY}")


def _memory_lock() -> Check:
    before = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    try:
        permit_locked_memory()
    except OSError as error:
        return Check("real time", "memlock", "note", str(error.strerror), PERMIT_MEMORY)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, before)
    return Check("real time", "memlock", "ok", "unlimited")


def _affinity() -> Check:
    usable, isolated = len(os.sched_getaffinity(0)), _read(Path("/sys/devices/system/cpu/isolated")).strip()
    if isolated:
        return Check("real time", "cpu affinity", "ok", f"{usable} cores, isolated: {isolated}")
    remedy = "boot with isolcpus=CORE and give robot and controller node the parameter cpus:=CORE"
    return Check("real time", "cpu affinity", "note", f"{usable} cores, none isolated", remedy)


def _governor() -> Check:
    governor = _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")).strip()
    if governor in ("", "performance"):
        return Check("real time", "cpu governor", "ok", governor or "none (fixed frequency or a guest)")
    return Check("real time", "cpu governor", "note", governor, "sudo cpupower frequency-set -g performance")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
