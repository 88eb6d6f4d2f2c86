"""Clients of object stores, one a process for each way of reaching them."""

from __future__ import annotations

import os
from datetime import timedelta
from difflib import get_close_matches
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from ganlib.errors import UserError

# pyarrow.fs loads the stores' SDKs: it is imported where a store is used.

Options = tuple[tuple[str, str], ...]
_OPTIONS = ("endpoint_override", "scheme", "region", "anonymous")
# An endpoint that does not answer is an error within a minute, not within the SDK's quarter of an hour.
_CONNECT_SECONDS, _REQUEST_SECONDS, _RETRY_SECONDS = 10, 60, 60


def client(scheme: str, bucket: str, options: Options) -> Any:
    """A pyarrow file system: "s3" or "gs", as `options` and the environment say. It does not outlive a fork."""
    if scheme == "gs":
        return _gcs(os.getpid(), options)
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""
    return _s3(os.getpid(), bucket, endpoint, region, options)


def store_options(spec: str, query: str) -> Options:
    """What stands after the `?` of `spec`, sorted. Raises UserError for an option that is not known."""
    options = dict(parse_qsl(query, keep_blank_values=True))
    for option in options:
        if option not in _OPTIONS:
            near = get_close_matches(option, _OPTIONS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"they are {', '.join(_OPTIONS)}"
            raise UserError(f"{spec}: there is no option {option!r}; {hint}")
    return tuple(sorted(options.items()))


@lru_cache(maxsize=16)
def _s3(process: int, bucket: str, endpoint: str, region: str, options: Options) -> Any:
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem, resolve_s3_region

    given = dict(options)
    scheme, host = _endpoint(given.get("endpoint_override") or endpoint)
    region = given.get("region") or region or ("us-east-1" if host else resolve_s3_region(bucket))
    return S3FileSystem(
        endpoint_override=host or None,
        scheme=given.get("scheme") or scheme,
        region=region,
        anonymous=given.get("anonymous") == "true",
        allow_delayed_open=True,  # what is small is written by one request
        connect_timeout=_CONNECT_SECONDS,
        request_timeout=_REQUEST_SECONDS,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=3),
    )


@lru_cache(maxsize=16)
def _gcs(process: int, options: Options) -> Any:
    from pyarrow.fs import GcsFileSystem

    given = dict(options)
    scheme, host = _endpoint(given.get("endpoint_override", ""))
    return GcsFileSystem(
        endpoint_override=host or None,
        scheme=given.get("scheme") or scheme,
        anonymous=given.get("anonymous") == "true",
        retry_time_limit=timedelta(seconds=_RETRY_SECONDS),
    )


def _endpoint(endpoint: str) -> tuple[str, str]:
    """(scheme, host:port[/path]) of an endpoint that may be written with or without its scheme."""
    scheme, separator, host = endpoint.partition("://")
    return (scheme, host.rstrip("/")) if separator else ("https", endpoint)
