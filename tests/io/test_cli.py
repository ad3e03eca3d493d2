"""The command line, run as a process runs it."""

import json
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from framework.cli import main
from framework.io.comparing import compare, statistics
from framework.io.states import describe, load, load_states, save
from tests.io.models import Trainer


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.msgpack"
    save(path, Trainer(1), meta={"step": 3})
    return str(path)


def run(capsys, *words):
    code = main([str(word) for word in words])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_ls_shows_the_tree(capsys, file):
    code, out, _ = run(capsys, "ls", file)
    assert code == 0
    lines = out.splitlines()
    assert lines[:6] == [
        "net",
        "  key  key<threefry2x32>[2]  8 B",
        "  layers",
        "    [0]",
        "      b  float32[4]  16 B",
        "      w  -> net.tied",
    ]
    assert "    [net.layers[0].b]  float32[4]  16 B" in lines
    assert lines[-2].startswith("14 leaves, 292 B; the file has ")
    assert lines[-1] == "metadata: {'step': 3}"
    content = json.loads(run(capsys, "ls", file, "--json")[1])
    assert content["aliases"]["net.layers[0].w"] == "net.tied"
    assert len(content["leaves"]) == 14


def test_verify_says_what_is_damaged(capsys, file, tmp_path):
    bad = tmp_path / "bad.msgpack"
    bad.write_bytes((tmp_path / "a.msgpack").read_bytes()[:-1])
    assert run(capsys, "verify", file) == (0, f"{file}: ok\n", "")
    code, out, _ = run(capsys, "verify", file, bad)
    assert code == 1
    assert out.startswith(f"{file}: ok\nDAMAGED '{bad}' is cut off")
    results = json.loads(run(capsys, "verify", file, bad, "--json")[1])
    assert results[file] == "ok"
    assert "cut off" in results[str(bad)]


def test_diff_lists_paths_types_and_largest_differences(capsys, file, tmp_path):
    other = Trainer(1)
    other.net.layers[1].b.value = other.net.layers[1].b.value + jnp.asarray([0, 0.5, -0.25])
    other.net.setattr("state", jnp.zeros((2, 3)))
    other.net.extra = jnp.zeros(2)
    del other.net.scale
    save(tmp_path / "b.msgpack", other)
    code, out, _ = run(capsys, "diff", file, tmp_path / "b.msgpack")
    assert code == 1
    assert sorted(out.splitlines()) == [
        "net.extra: only in second  (float32[2])",
        "net.layers[1].b: values differ by up to 0.5  (float32[3])",
        "net.scale: only in first  (bfloat16[2])",
        "net.state: int32[2,2] and float32[2,3]",
    ]
    rows = json.loads(run(capsys, "diff", file, tmp_path / "b.msgpack", "--json")[1])
    assert {row["largest"] for row in rows} == {None, 0.5}
    assert run(capsys, "diff", file, file) == (0, "no differences\n", "")


def test_differences_of_every_kind_of_number(tmp_path):
    first = {"f": jnp.asarray([1.0, np.nan, np.inf]), "c": np.array([1j]), "b": np.array([True])}
    first |= {"i": np.array([2**63 - 1]), "s": "a", "z": -0.0, "t": np.datetime64(3, "s")}
    second = {"f": jnp.asarray([1.0, np.nan, 2.0]), "c": np.array([1j + 3]), "b": np.array([False])}
    second |= {"i": np.array([2**63 - 2]), "s": "b", "z": 0.0, "t": np.datetime64(5, "s")}
    save(tmp_path / "a", first)
    save(tmp_path / "b", second)
    found = {d.path[2]: d.largest for d in compare(tmp_path / "a", tmp_path / "b")}
    assert found.pop("f") == np.inf
    assert np.isnan(found.pop("s"))
    assert found == {"c": 3, "b": 1, "i": 0, "z": 0, "t": 2}


def test_statistics(capsys, tmp_path):
    rng = np.random.default_rng(0)
    big = rng.normal(3, 2, 2_500_000).astype(np.float32)
    small = jnp.asarray([1.0, np.nan, -np.inf, 3.0], jnp.bfloat16)
    save(tmp_path / "a", {"big": big, "small": small, "none": np.zeros(0), "text": "x"})
    rows = {row.path: row for row in statistics(tmp_path / "a")}
    wide = big.astype(np.float64)
    expected = (wide.mean(), wide.std(), wide.min(), wide.max())
    np.testing.assert_allclose(rows["['big']"][2:6], expected, rtol=1e-12)
    assert rows["['small']"][2:] == (2.0, 1.0, 1.0, 3.0, 1, 1)
    assert set(rows) == {"['big']", "['small']", "['none']"}
    code, out, _ = run(capsys, "stats", tmp_path / "a")
    assert code == 0
    assert out.splitlines()[2].split()[1:] == ["2", "1", "1", "3", "1", "1", "bfloat16[4]"]
    assert json.loads(run(capsys, "stats", tmp_path / "a", "--json")[1])[2]["mean"] is None


def test_convert_keeps_everything_and_selects(capsys, file, tmp_path):
    for target in (tmp_path / "b.npz", tmp_path / "c.msgpack"):
        assert run(capsys, "convert", file, target)[0] == 0
        assert run(capsys, "diff", file, target)[1] == "no differences\n"
        assert describe(target).meta == {"step": 3}
    code, out, _ = run(capsys, "convert", file, file, "--include", "net", "--exclude", "*.b")
    assert (code, out) == (0, f"{file}: 7 leaves\n")
    assert set(load(file)) == {"net"}


def test_rename_moves_slots_along(capsys, file, tmp_path):
    target = tmp_path / "b.msgpack"
    assert run(capsys, "rename", file, target, "net=model", "opt=optimizer")[0] == 0
    paths = {leaf.path for leaf in describe(target).leaves}
    assert "optimizer.m[model.tied]" in paths
    back = tmp_path / "c.msgpack"
    run(capsys, "rename", target, back, "model=net", "optimizer=opt")
    assert load_states(back, Trainer(2)).fits
    code, _, err = run(capsys, "rename", file, target, "nowhere=x")
    assert code == 1
    assert "no path in the file starts with 'nowhere'" in err
    assert run(capsys, "rename", file, target, "x") == (2, "", "error: expected old=new, got 'x'\n")


def test_misuse_and_missing_files(capsys, tmp_path):
    with pytest.raises(SystemExit, match="2"):
        main(["explode"])
    code, _, err = run(capsys, "ls", tmp_path / "nowhere")
    assert code == 1
    assert "No such file" in err
    assert (
        "No such file" in json.loads(run(capsys, "ls", tmp_path / "nowhere", "--json")[1])["error"]
    )


def test_the_module_is_a_command_that_survives_a_closed_pipe(file):
    command = f"{sys.executable} -m framework ls {file} | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("net\n", "")
