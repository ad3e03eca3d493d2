"""Names of objects: unique, held weakly, free to choose."""

import gc
import threading

import pytest

from framework import (
    BrainPyError,
    BrainPyObject,
    UniqueNameError,
    clear_name_cache,
    get_unique_name,
)


class Dense(BrainPyObject):
    pass


@pytest.fixture(autouse=True)
def fresh_names():
    clear_name_cache()


def test_automatic():
    first, second = Dense(), Dense()
    assert (first.name, second.name) == ("Dense0", "Dense1")
    assert BrainPyObject().name == "BrainPyObject0"


def test_chosen():
    assert Dense("encoder").name == "encoder"
    assert Dense(name="décodeur_1").name == "décodeur_1"


@pytest.mark.parametrize("bad", ["", "1st", "a b", "a.b", "a-1", 3, ("a",), b"a"])
def test_must_be_an_identifier(bad):
    dense = Dense("kept")
    with pytest.raises(BrainPyError, match="identifier"):
        Dense(bad)
    with pytest.raises(BrainPyError, match="identifier"):
        dense.name = bad
    assert dense.name == "kept"


def test_must_be_free():
    holder, other = Dense("x"), Dense()
    for take in (lambda: Dense("x"), lambda: setattr(other, "name", "x")):
        with pytest.raises(UniqueNameError, match=r"'x'.*Dense"):
            take()
    assert (holder.name, other.name) == ("x", "Dense0")


def test_renaming_frees_the_old_name():
    dense = Dense("old")
    dense.name = "new"
    dense.name = "new"
    assert dense.name == "new"
    assert Dense("old").name == "old"


def test_a_name_dies_with_its_object():
    dense = Dense("x")
    del dense
    gc.collect()
    assert Dense("x").name == "x"


def test_automatic_names_avoid_chosen_ones():
    kept = [Dense("Dense0"), Dense("Dense1"), Dense()]
    assert kept[-1].name == "Dense2"


def test_unique_name():
    dense = Dense("x")
    assert dense.unique_name("y") == "y"
    assert dense.unique_name("x") == "x"
    assert dense.unique_name(type_="layer") == "layer0"
    assert dense.unique_name() == "Dense0"
    with pytest.raises(UniqueNameError):
        Dense().unique_name("x")
    assert dense.name == "x"


def test_get_unique_name():
    assert [get_unique_name("net") for _ in range(2)] == ["net0", "net1"]


def test_clear_name_cache():
    first = Dense()
    clear_name_cache(ignore_warn=True)
    second = Dense()
    assert first.name == second.name
    with pytest.warns(UserWarning, match="forgotten"):
        clear_name_cache(ignore_warn=False)


def test_two_nodes_of_one_name_are_never_mixed_up():
    parent = Dense("parent")
    parent.a = Dense()
    clear_name_cache()
    parent.b = Dense()
    for collect in (parent.nodes, parent.vars, parent.state_dict):
        with pytest.raises(UniqueNameError, match=r"Dense0.*\.a.*\.b"):
            collect()
    assert list(parent.nodes("relative")) == ["", "a", "b"]
    parent.b.name = "other"
    assert list(parent.nodes()) == ["parent", "Dense0", "other"]


def test_a_copy_takes_its_originals_name_if_that_is_free():
    dense = Dense("x")
    twin, heir = dense.clone(), dense.clone()
    assert twin.name == "Dense0"
    del dense
    gc.collect()
    assert heir.name == "x"


def test_threads():
    made, errors = [], []

    def make():
        try:
            made.extend([Dense() for _ in range(500)])
        except BrainPyError as error:
            errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len({dense.name for dense in made}) == 4000
