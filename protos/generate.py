"""Generate the Python code of the wire from the .proto files beside this script.

The generated code is committed, so users of paxospp need no compiler. The compiler is grpcio-tools
1.63.2: the last version whose output runs on every protobuf from 5.26.1 to 7.x. It has wheels for
Python 3.12 and older only, so this script makes a virtual environment for it (``.gen`` in the
checkout) with the first suitable Python that it finds.

    python protos/generate.py            write paxospp/wire/v1/*_pb2.py and *_pb2.pyi
    python protos/generate.py --check    write nothing; exit 1 if they differ from the .proto files

Only the messages are generated. paxospp/rpc registers the services by hand, on raw bytes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

PROTOS = Path(__file__).resolve().parent
ROOT = PROTOS.parent
PACKAGE = Path("paxospp/wire/v1")
REQUIREMENTS = ("grpcio-tools==1.63.2", "setuptools<80")
"""The compiler imports pkg_resources, which was removed from setuptools 80."""
PYTHONS = ("python3.12", "python3.11", "python3.10")


def main() -> int:
    parser = argparse.ArgumentParser(description="Regenerate the Python code of the wire.", allow_abbrev=False)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the committed code differs")
    parser.add_argument("--venv", type=Path, default=ROOT / ".gen", help="the environment that holds the compiler")
    options = parser.parse_args()
    compiler = find_compiler(options.venv)
    if compiler is None:
        parser.exit(
            2,
            f"{REQUIREMENTS[0]} could not be installed: it needs one of {', '.join(PYTHONS)} and a package index; "
            "provide both, or name an environment that has it with --venv\n",
        )
    with tempfile.TemporaryDirectory() as scratch:
        generated = compile_protos(compiler, Path(scratch))
        differing = [path for path in sorted(generated | committed()) if not same(Path(scratch) / path, ROOT / path)]
        if options.check:
            for path in differing:
                sys.stderr.write(f"{path} differs from what protos/ generates; run: python protos/generate.py\n")
            return 1 if differing else 0
        for path in differing:
            if path in generated:
                (ROOT / path).write_bytes((Path(scratch) / path).read_bytes())
            else:
                (ROOT / path).unlink()
            sys.stdout.write(f"{path}\n")
    return 0


def find_compiler(venv: Path) -> Path | None:
    """Return a Python that can run the compiler, after installing it if necessary; None if that fails."""
    python = venv / "bin" / "python"
    if python.exists() and succeeds(python, "-c", "import grpc_tools.protoc"):
        return python
    running = (sys.executable,) if sys.version_info < (3, 13) else ()
    for base in (*running, *PYTHONS):
        if succeeds(base, "-m", "venv", "--clear", venv) and succeeds(
            python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS
        ):
            return python
    return None


def compile_protos(python: Path, target: Path) -> set[Path]:
    """Compile every .proto file into ``target``, and return the paths written, relative to it."""
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    arguments = ["-I.", f"--python_out={target}", f"--pyi_out={target}", *sources]
    subprocess.run([python, "-W", "ignore", "-m", "grpc_tools.protoc", *arguments], cwd=PROTOS, check=True)
    return {path.relative_to(target) for path in target.rglob("*_pb2.py*")}


def committed() -> set[Path]:
    return {path.relative_to(ROOT) for path in (ROOT / PACKAGE).glob("*_pb2*.py*")}


def same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.read_bytes() == other.read_bytes()


def succeeds(*command: str | Path) -> bool:
    try:
        return (
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0
        )
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
