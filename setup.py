"""Lets the wheel carry what is no Python: pyproject.toml has everything else."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
#: Found again by `bkt_settings.home`.
CARRIED = (
    "conf/*.toml",
    "docs/roles.sql",
    "prefect.yaml",
    "prefect.toml",
    "pyproject.toml",
    "requirements.lock",
)


class BuildWithFiles(build_py):
    """Copies the files into `bkt_settings/installed` of what is built, not of the checkout."""

    def run(self) -> None:
        """Build the packages, then add the files, unless the install is an editable one."""
        super().run()
        if self.editable_mode:
            return
        for pattern in CARRIED:
            for path in sorted(ROOT.glob(pattern)):
                inside = Path("bkt_settings") / "installed" / path.relative_to(ROOT)
                target = Path(self.build_lib) / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)


setup(cmdclass={"build_py": BuildWithFiles})
