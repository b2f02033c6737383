"""What rbcluster relies on of PyYAML."""

from typing import Any

class YAMLError(Exception): ...

def safe_load(stream: str) -> Any: ...
