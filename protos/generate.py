"""Regenerate the Python code of the wire from the .proto files beside this script.

The generated code is committed, so nobody who installs paxospp needs a compiler. It is made
by grpcio-tools 1.63.2, the last whose output runs on every protobuf from 5.26.1 to 7.x, and
that one has wheels for Python 3.12 and older only; this script therefore makes a virtual
environment of its own (``.gen`` in the checkout), with whatever fitting Python it finds.

    python protos/generate.py            write paxospp/wire/v1/*_pb2.py and *_pb2.pyi
    python protos/generate.py --check    write nothing; exit 1 if they differ from the .proto files

Only the messages are generated: the services are registered by hand, on raw bytes (paxospp/rpc).
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
"""The compiler imports pkg_resources, which setuptools 80 no longer has."""
PYTHONS = ("python3.12", "python3.11", "python3.10")


def main() -> int:
    parser = argparse.ArgumentParser(description="Regenerate the Python code of the wire.")
    parser.add_argument("--check", action="store_true", help="compare with what is there; exit 1 if it differs")
    parser.add_argument("--venv", type=Path, default=ROOT / ".gen", help="where the compiler is, or is to be installed")
    options = parser.parse_args()
    compiler = find_compiler(options.venv)
    if compiler is None:
        parser.exit(
            2,
            f"no Python with {REQUIREMENTS[0]} could be made: it has wheels for {', '.join(PYTHONS)} only; "
            "install one of these, or name a prepared environment with --venv\n",
        )
    with tempfile.TemporaryDirectory() as scratch:
        generated = compile_protos(compiler, Path(scratch))
        differing = [path for path in sorted(generated | committed()) if not same(Path(scratch) / path, ROOT / path)]
        if options.check:
            for path in differing:
                sys.stderr.write(f"{path} is not what protos/ says; run: python protos/generate.py\n")
            return 1 if differing else 0
        for path in differing:
            if path in generated:
                (ROOT / path).write_bytes((Path(scratch) / path).read_bytes())
            else:
                (ROOT / path).unlink()
            sys.stdout.write(f"{path}\n")
    return 0


def find_compiler(venv: Path) -> Path | None:
    """The Python that can run the compiler; made on the first call."""
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
    """Compile every .proto file into ``target``; the paths made, relative to it."""
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
