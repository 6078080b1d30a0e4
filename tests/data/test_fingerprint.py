"""Digests of files, and the cache of results for files."""

import hashlib

import pytest

from litmus.core import atomic_files
from litmus.data.batch_decoding import cached_results
from litmus.data.fingerprint import BLOCK, FILES_PER_TASK, UNREADABLE, file_digests


def test_each_file_has_the_digest_of_its_content(tmp_path):
    contents = [b"", b"x", b"y" * (2 * BLOCK + 1), *(str(i).encode() for i in range(2 * FILES_PER_TASK))]
    files = [tmp_path / str(number) for number in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    found = file_digests([*files, tmp_path / "absent"])
    expected = [hashlib.sha256(content).hexdigest() for content in contents]
    assert found == dict(zip([*files, tmp_path / "absent"], [*expected, UNREADABLE], strict=True))
    assert list(found) == [*files, tmp_path / "absent"]


def test_the_cache_of_many_files_is_read_again(tmp_path):
    files = [tmp_path / str(number) for number in range(20)]
    results = dict.fromkeys(files, "x" * (atomic_files.MOST_BYTES // 10))
    assert cached_results("kind", files, tmp_path / "cache", lambda _: results) == results
    assert cached_results("kind", files, tmp_path / "cache", lambda _: pytest.fail("not cached")) == results
