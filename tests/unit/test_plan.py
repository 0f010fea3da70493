"""What a pass commits, from what it read: pure, by tables and properties."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lfssync.git.fastimport import Edit
from lfssync.line.plan import CommitPlan, differs, known_of, plan, still_unread
from lfssync.model import Change, Deferred, DeletePolicy, Known, LfsObject, Signature, Staged

ONE, TWO, RULES = "1" * 40, "2" * 40, "f" * 40
NAME = b".gitattributes"
COMPOSED = Edit(NAME, "100644", RULES)


def signature(size: int = 1, mode: int = 0o100644) -> Signature:
    return Signature(size, 2, 3, 4, mode)


def staged(path: bytes, oid: str = ONE, size: int = 1, mode: int = 0o100644) -> Staged:
    return Staged(path, signature(size, mode), oid)


def known(oid: str = ONE, mode: str = "100644") -> Known:
    return Known(mode, oid, None, signature())


def planned(
    read: list[Staged],
    *,
    recorded: dict[bytes, Known] | None = None,
    removed: list[bytes] | None = None,
    on_branch: dict[bytes, tuple[str, str]] | None = None,
    prefix: bytes = b"",
    delete: DeletePolicy = DeletePolicy.MIRROR,
    attributes: Edit = COMPOSED,
    needed: bool = False,
) -> CommitPlan:
    return plan(read, recorded or {}, removed or [], on_branch or {}, prefix, delete, (attributes, needed))


def test_nothing_read_is_nothing_to_commit() -> None:
    assert planned([]) == CommitPlan((), (), (), (), (), 0)


def test_a_new_file_comes_with_the_attributes() -> None:
    made = planned([staged(b"a", size=7)])
    assert made.edits == (Edit(b"a", "100644", ONE), COMPOSED)
    assert made.mirrored == (Edit(b"a", "100644", ONE),)
    assert (made.added, made.changed, made.removed, made.content_bytes) == ((b"a",), (), (), 7)


def test_a_touched_file_is_no_change() -> None:
    assert planned([staged(b"a")], recorded={b"a": known()}) == planned([])


def test_modes_and_contents_are_changes() -> None:
    read = [staged(b"a", TWO), staged(b"b", mode=0o100755), staged(b"c", mode=0o120777)]
    made = planned(read, recorded={b"a": known(), b"b": known(), b"c": known()})
    assert made.changed == (b"a", b"b", b"c")
    assert [edit.git_mode for edit in made.edits] == ["100644", "100755", "120000", "100644"]


def test_the_largest_come_first_for_people() -> None:
    assert planned([staged(b"a"), staged(b"b", size=9), staged(b"c", size=5)]).added == (b"b", b"c", b"a")


def test_a_deletion_leaves_branch_and_picture() -> None:
    made = planned([], removed=[b"a"])
    assert made.edits == (Edit(b"a"), COMPOSED)
    assert made.mirrored == (Edit(b"a"),)
    assert made.removed == (b"a",)


def test_a_kept_deletion_leaves_the_picture_alone() -> None:
    made = planned([], removed=[b"a"], delete=DeletePolicy.KEEP)
    assert made.edits == ()
    assert made.mirrored == (Edit(b"a"),)
    assert made.removed == ()


def test_what_the_branch_has_already_is_only_noted() -> None:
    made = planned([staged(b"a"), staged(b"b", TWO)], on_branch={b"a": ("100644", ONE), b"b": ("100644", ONE)})
    assert made.edits == (Edit(b"b", "100644", TWO), COMPOSED)
    assert {edit.path for edit in made.mirrored} == {b"a", b"b"}
    assert (made.added, made.changed) == ((), (b"b",))


def test_paths_are_from_the_root_and_names_from_the_directory() -> None:
    composed = Edit(b"in/to/" + NAME, "100644", RULES)
    made = planned([staged(b"a")], removed=[b"b"], prefix=b"in/to/", attributes=composed)
    assert made.edits == (Edit(b"in/to/a", "100644", ONE), Edit(b"in/to/b"), composed)
    assert (made.added, made.removed) == ((b"a",), (b"b",))


def test_the_composed_attributes_take_the_place_of_the_directorys_own() -> None:
    made = planned([staged(NAME)])
    assert made.edits == (COMPOSED,)
    assert made.mirrored == (Edit(NAME, "100644", ONE),)
    assert made.added == (NAME,)
    gone = planned([], removed=[NAME], attributes=Edit(NAME))
    assert gone.edits == (Edit(NAME),)


def test_attributes_that_are_needed_make_a_commit_by_themselves() -> None:
    assert planned([], needed=True).edits == (COMPOSED,)
    assert planned([], needed=False).edits == ()


paths = st.binary(min_size=1, max_size=3)
oids = st.sampled_from([ONE, TWO])


@given(
    st.dictionaries(paths, oids), st.dictionaries(paths, oids), st.sets(paths), st.dictionaries(paths, oids),
    st.sampled_from(DeletePolicy), st.booleans(),
)  # fmt: skip
def test_the_plan_leads_from_what_was_there_to_what_was_read(
    read: dict[bytes, str], recorded: dict[bytes, str], gone: set[bytes], branch: dict[bytes, str],
    delete: DeletePolicy, is_first: bool,
) -> None:  # fmt: skip
    """Applied to the branch and to the picture, it gives what it should; and it says nothing twice."""
    recorded = {} if is_first else recorded
    removed = sorted(gone - read.keys())
    on_branch = {path: ("100644", oid) for path, oid in branch.items()} if is_first else {}
    made = planned(
        [staged(path, oid) for path, oid in read.items()],
        recorded={path: known(oid) for path, oid in recorded.items()},
        removed=removed,
        on_branch=on_branch,
        delete=delete,
    )
    picture = apply(recorded, made.mirrored)
    assert picture == {path: oid for path, oid in {**recorded, **read}.items() if path not in removed}
    before = {**branch, **recorded}
    after = apply(before, made.edits)
    after.pop(NAME, None)
    lost = set(removed) if delete is DeletePolicy.MIRROR else set()
    assert after == {path: oid for path, oid in {**before, **read}.items() if path not in lost and path != NAME}
    assert len({edit.path for edit in made.edits}) == len(made.edits)
    told = [*made.added, *made.changed, *made.removed]
    assert len(set(told)) == len(told)
    assert bool(told) == bool(made.edits)


def apply(tree: dict[bytes, str], edits: tuple[Edit, ...]) -> dict[bytes, str]:
    result = dict(tree)
    for edit in edits:
        if edit.blob_oid is None:
            result.pop(edit.path, None)
        else:
            result[edit.path] = edit.blob_oid
    return result


def test_differs() -> None:
    assert differs(staged(b"a"), None)
    assert differs(staged(b"a", TWO), known())
    assert differs(staged(b"a"), known(mode="100755"))
    assert not differs(staged(b"a"), known())


def test_known_of() -> None:
    changes = [Change(b"a", signature(), None), Change(b"b", signature(), known())]
    assert known_of(changes) == {b"a": None, b"b": known()}


def test_what_could_not_be_read_again_is_read_next_time() -> None:
    lfs = LfsObject("ab" * 32, 5)
    before = Known("100644", ONE, lfs, signature())
    again = [Change(b"a", signature(), before), Change(b"b", signature(), before), Change(b"c", signature(), None)]
    waiting = [Deferred(b"a", "open for writing"), Deferred(b"c", "open for writing"), Deferred(b"d", "new")]
    assert still_unread(again, waiting) == {b"a": Known("100644", ONE, lfs, None)}
