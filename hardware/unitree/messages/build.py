"""Makes Python modules of the message packages in this folder, for machines whose ROS does not provide them.

    python -m dara_ros.hardware.unitree.messages.build

Needs the rosidl generators (extras [ros,unitree]), a C and C++ compiler and Python's headers; a package from
somewhere else, as a sourced ROS workspace, is left alone. Each package becomes ONE extension module in
site-packages, and two links to it under the names by which ROS looks for what Fast DDS needs.
"""

import contextlib
import hashlib
import importlib.util
import io
import logging
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PACKAGES = ("unitree_go", "unitree_api")
MARK = "made_by_dara_ros"  # a file in what was built here: hash of what it was built from
SUPPORTS = ("rosidl_typesupport_fastrtps_c", "rosidl_typesupport_introspection_c")
LIBRARIES = (
    "rosidl_runtime_c",
    "rosidl_typesupport_c",
    "rosidl_typesupport_fastrtps_c",
    "rosidl_typesupport_fastrtps_cpp",
    "rosidl_typesupport_introspection_c",
    "rcutils",
    "rmw",
    "fastcdr",
)
INCLUDED = (*LIBRARIES, "rosidl_dynamic_typesupport", "rosidl_typesupport_interface")


def main() -> int:
    """Build what is missing; exit status 2 where something is needed for it, 1 where a compiler fails."""
    site = Path(sysconfig.get_path("purelib"))
    wanted = [package for package in PACKAGES if not _provided(package, site)]
    try:
        missing = _missing() if wanted else ""
        if missing:
            print(f"unitree messages are not built: {missing}", file=sys.stderr)
            return 2
        for package in wanted:
            _build(package, site)
    except subprocess.CalledProcessError as error:
        print(f"unitree messages: a compiler failed\n{error.stderr.decode()[-2000:]}", file=sys.stderr)
        return 1
    return 0


def _provided(package: str, site: Path) -> bool:
    """Whether `package` can be imported as it should be: built here and in step, or somebody else's."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return False
    mark = site / package / MARK
    ours = Path(spec.submodule_search_locations[0]).resolve() == mark.parent.resolve() and mark.exists()
    return not ours or mark.read_text() == _hash(package)


def _hash(package: str) -> str:
    """Of all that decides how a built package looks."""
    sources = (Path(__file__), *sorted((FOLDER / package / "msg").glob("*.msg")))
    contents = b"".join(source.read_bytes() for source in sources)
    return hashlib.sha256(contents + sys.version.encode()).hexdigest()


def _missing() -> str:
    """What is needed and not there, with its remedy; empty where nothing is missing."""
    if "ROS_DISTRO" in os.environ:
        return "a ROS installation is sourced: build Unitree's unitree_ros2 with colcon, and source that too"
    for module in ("rosidl_generator_py", "catkin_pkg", "numpy"):
        if importlib.util.find_spec(module) is None:
            return f"no module {module}: pip install 'dara_ros[ros,unitree]'"
    for compiler in ("gcc", "g++"):
        if shutil.which(compiler) is None:
            return f"no {compiler}: apt-get install g++"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "no Python.h: apt-get install python3-dev"
    return ""


def _build(package: str, site: Path) -> None:
    print(f"building {package} into {site}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        generated = Path(temporary, package)  # headers are included as package/msg/...
        _generate(package, generated)
        made = Path(temporary, "made")
        (made / "msg").mkdir(parents=True)
        for module in (generated / "msg").glob("*.py"):
            shutil.copy(module, made / "msg")
        name = f"{package}_s__rosidl_typesupport_c{sysconfig.get_config_var('EXT_SUFFIX')}"
        _compile(generated, made / name)
        (made / "__init__.py").touch()
        (made / MARK).write_text(_hash(package))
        shutil.rmtree(site / package, ignore_errors=True)
        shutil.move(made, site / package)
    for support in SUPPORTS:
        link = Path(sys.prefix, "lib", f"lib{package}__{support}.so")
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(site / package / name, link.parent))


def _generate(package: str, out: Path) -> None:
    """C, its serialisation for Fast DDS, and Python.

    The generators are called directly: the wheels register each entry point twice, and `rosidl generate`
    gives up on that.
    """
    os.environ["AMENT_PREFIX_PATH"] = sys.prefix
    logging.getLogger("rosidl_cli").setLevel(logging.ERROR)  # what it says of the doubled entry points
    from rosidl_cli.command.translate.api import translate
    from rosidl_generator_c.cli import GenerateC
    from rosidl_generator_py.cli import GeneratePython
    from rosidl_typesupport_c.cli import GenerateCTypesupport
    from rosidl_typesupport_fastrtps_c.cli import GenerateFastRTPSCTypesupport
    from rosidl_typesupport_introspection_c.cli import GenerateIntrospectionCTypesupport

    files = sorted((FOLDER / package / "msg").glob("*.msg"))
    with contextlib.redirect_stdout(io.StringIO()):
        interfaces = translate(
            package_name=package,
            interface_files=[f"{FOLDER / package}:msg/{file.name}" for file in files],
            include_paths=[],
            output_format="idl",
            output_path=out,
        )
        for generator in (
            GenerateC("c"),
            GenerateFastRTPSCTypesupport("fastrtps_c"),
            GenerateIntrospectionCTypesupport("introspection_c"),
            GenerateCTypesupport("c", typesupport_implementations=list(SUPPORTS)),
            GeneratePython("py", typesupport_implementations=["rosidl_typesupport_c"]),
        ):
            generator.generate(package, interfaces, [], out)


def _compile(generated: Path, module: Path) -> None:
    """All C and C++ in `generated` into one extension module."""
    import numpy as np

    prefix = Path(sys.prefix)
    folders = [generated.parent, sysconfig.get_path("include"), np.get_include()]
    folders += [prefix / "include" / library for library in (*INCLUDED, "")]
    includes = [f"-I{folder}" for folder in folders]

    apart = sorted(generated.rglob("*__description.c"))  # they all define the same names
    for suffix in ("c", "cpp"):
        # Together: apart, each of some eighty files would read the same headers.
        together = generated / f"together_{suffix}.{suffix}"
        sources = sorted(set(generated.rglob(f"*.{suffix}")) - set(apart))
        together.write_text("".join(f'#include "{source}"\n' for source in sources))
        apart.append(together)
    _run("gcc", "-fPIC", "-w", *includes, "-c", *apart, folder=generated)
    libraries = [f"-l{library}" for library in LIBRARIES]
    objects = sorted(generated.glob("*.o"))
    _run("g++", "-shared", *objects, f"-L{prefix / 'lib'}", *libraries, "-o", module)


def _run(*command: str | Path, folder: Path | None = None) -> None:
    subprocess.run(command, check=True, capture_output=True, cwd=folder)


if __name__ == "__main__":
    sys.exit(main())
