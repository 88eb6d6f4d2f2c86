"""Readers of what people have: files of pictures with what belongs to them, tables, arrays, and pictures made here."""

from ganlib.data.sources.base import SPLITS, BadRecordError, Record, Source, SplitName
from ganlib.data.sources.opening import open_source

__all__ = ["SPLITS", "BadRecordError", "Record", "Source", "SplitName", "open_source"]
