"""A wall clock that can be moved while processes run by it: a file that `clock.c`, which they preload, looks at."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


@dataclass(frozen=True)
class Clock:
    """`file` is null where there is no compiler to make what moves it."""

    file: Path | None
    environment: Mapping[str, str]

    @classmethod
    def made_in(cls, folder: Path) -> "Clock":
        compiler = shutil.which("cc")
        if compiler is None:
            return cls(None, {})
        library, file = folder / "clock.so", folder / "clock"
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE)], check=True)
        file.write_bytes(bytes(8))
        return cls(file, {"LD_PRELOAD": str(library), "SOAK_CLOCK": str(file)})

    @contextmanager
    def off_by(self, seconds: int) -> Iterator[None]:
        assert self.file is not None
        with self.file.open("r+b", buffering=0) as file:
            file.write(seconds.to_bytes(8, "little", signed=True))
            try:
                yield
            finally:
                file.seek(0)
                file.write(bytes(8))


NO_CLOCK = Clock(None, {})
