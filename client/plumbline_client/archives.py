"""A model's directory out of the archive that it came in."""

import tarfile
from pathlib import Path, PurePosixPath

from plumbline_client.errors import PlumblineError


def unpack(archive: Path, folder: Path) -> None:
    """All files of the archive below `folder`, without the one folder that may hold all of them. Raises PlumblineError
    for anything that isn't a plain file inside of it."""
    with tarfile.open(archive) as tar:
        members = [member for member in tar.getmembers() if not member.isdir()]
        for member in members:
            path = PurePosixPath(member.name)
            if not member.isreg() or path.is_absolute() or ".." in path.parts:
                raise PlumblineError(f"The archive holds something that is no file of a model: {member.name!r}.")
        firsts = {PurePosixPath(member.name).parts[0] for member in members}
        above = 1 if len(firsts) == 1 and all(len(PurePosixPath(one.name).parts) > 1 for one in members) else 0
        for member in members:
            target = folder.joinpath(*PurePosixPath(member.name).parts[above:])
            target.parent.mkdir(parents=True, exist_ok=True)
            content = tar.extractfile(member)
            assert content is not None  # of a plain file
            with content, target.open("wb") as file:
                while piece := content.read(1 << 20):
                    file.write(piece)
