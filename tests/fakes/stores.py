"""A store in memory that refuses as S3 does, with the errors that s3fs makes of that."""

import errno
import hashlib
from typing import Any, ClassVar

from fsspec.implementations.memory import MemoryFileSystem


class ClientError(Exception):
    """As botocore's: what the server answered is in `response`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.response = {"Error": {"Code": code}}


class FakeS3(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """`s3://` without a server: an ETag for each object, and conditions on writing."""

    protocol = ("s3", "s3a")
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        stripped: str = super()._strip_protocol(path.removeprefix("s3:/"))
        return stripped

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        found: dict[str, Any] = super().info(path, **kwargs)
        if found["type"] == "file":
            found["ETag"] = f'"{hashlib.md5(self.cat_file(path)).hexdigest()}"'
        return found

    def pipe_file(
        self, path: str, value: bytes, mode: str = "overwrite", **conditions: str
    ) -> None:
        if mode == "create" and self.exists(path):
            raise FileExistsError("a condition did not hold") from ClientError("PreconditionFailed")
        if "IfMatch" in conditions and self.info(path)["ETag"] != conditions["IfMatch"]:
            refusal = OSError(errno.EINVAL, "a condition did not hold")
            raise refusal from ClientError("PreconditionFailed")
        super().pipe_file(path, value)
