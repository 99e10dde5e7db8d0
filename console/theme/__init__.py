"""How the pages of Headgate look alike: colours, faces and the logo, which the demo and the web console serve."""

from __future__ import annotations

from pathlib import Path
from typing import Final

FILES: Final = Path(__file__).parent / "static"
