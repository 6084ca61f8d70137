"""The reviews in each of their forms; small stand-ins for the official files are made here."""

import io
import json
import os
import pickle
import tarfile

import numpy as np
import pytest

from stepfold.data import DataError, imdb_texts, load_imdb, pad, split_blocks

REVIEWS = {
    "pos/0_9.txt": "great fun",
    "pos/2_8.txt": "fun",
    "pos/10_7.txt": "great",
    "neg/0_1.txt": "no fun",
    "neg/1_2.txt": "bad",
}
IN_ORDER = ["no fun", "bad", "great fun", "fun", "great"]


def object_array(lists):
    array = np.empty(len(lists), object)
    array[:] = lists
    return array


def save_npz(path, lists, labels):
    np.savez(
        path, x_train=object_array(lists), y_train=np.asarray(labels), x_test=object_array([[1]]), y_test=[0]
    )
    return path


def test_the_installed_reviews_are_the_official_ones():
    corpus = load_imdb()
    assert len(corpus.sequences) == 25000
    assert np.bincount(corpus.labels).tolist() == [12500, 12500]
    assert corpus.classes == ("negative", "positive")
    # The published figures: 5,942,841 words and the official order of the commonest.
    assert sum(map(len, corpus.sequences)) == 5_942_841 + 25000
    assert corpus.vocabulary_size == 10000
    assert corpus.vocabulary is not None
    assert corpus.vocabulary.words[:10] == ("the", "and", "a", "of", "to", "is", "br", "in", "it", "i")
    assert max(ids.max() for ids in corpus.sequences) == 9999
    assert pad(corpus.sequences, 500).shape == (25000, 500)


def fill_folder(root):
    for name, text in REVIEWS.items():
        file = root / "train" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (root / "train" / "unsup").mkdir()
    (root / "train" / "unsup" / "0_0.txt").write_text("unlabelled")
    (root / "test" / "pos").mkdir(parents=True)
    (root / "test" / "pos" / "0_10.txt").write_text("for later")
    return root


def texts_of(corpus):
    return [corpus.vocabulary.decode(ids[1:]) for ids in corpus.sequences]


def test_folder_and_archive_give_the_same_in_the_same_order(tmp_path):
    folder = fill_folder(tmp_path / "aclImdb")
    archive = tmp_path / "aclImdb_v1.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname="aclImdb")
    for path in (folder, tmp_path, folder / "train", archive):
        corpus = load_imdb(path, seed=None)
        assert texts_of(corpus) == IN_ORDER
        assert corpus.labels.tolist() == [0, 0, 1, 1, 1]


def test_keras_npz_is_shifted_and_cut_as_keras_does(tmp_path):
    path = save_npz(tmp_path / "imdb.npz", [[1, 2, 50, 3], [7]], [0, 1])
    corpus = load_imdb(path, vocabulary_size=10, seed=None)
    assert [ids.tolist() for ids in corpus.sequences] == [[1, 4, 5, 2, 6], [1, 2]]
    assert corpus.labels.tolist() == [0, 1]
    assert corpus.vocabulary_size == 10
    assert corpus.vocabulary is None


def test_the_word_list_beside_the_npz_gives_the_vocabulary(tmp_path):
    path = save_npz(tmp_path / "imdb.npz", [[1, 2], [3]], [0, 1])
    index = tmp_path / "imdb_word_index.json"
    index.write_text(json.dumps({"and": 2, "the": 1, "a": 3}))
    corpus = load_imdb(path, vocabulary_size=6, seed=None)
    assert corpus.vocabulary is not None
    assert corpus.vocabulary.words == ("the", "and")
    assert corpus.vocabulary.decode(corpus.sequences[0]) == "<start> the and"
    for wrong in ('{"the": 1, "and": 3}', '["the"]', '{"the": "1"}', "{"):
        index.write_text(wrong)
        with pytest.raises(DataError, match=r"imdb_word_index\.json is not Keras's word list"):
            load_imdb(path)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_every_protocol_of_a_harmless_pickle_is_read(tmp_path, protocol):
    path = tmp_path / "imdb.npz"
    path.write_bytes(npz_with(pickle.dumps(object_array([[1], [2, 3]]), protocol), [0, 1]))
    assert [ids.tolist() for ids in load_imdb(path, seed=None).sequences] == [[1, 4], [1, 5, 6]]


def npz_with(pickled, labels):
    """Return an .npz whose x_train holds these bytes where numpy's pickle stands."""
    import zipfile

    member, whole = io.BytesIO(), io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": (len(labels),)}
    np.lib.format.write_array_header_1_0(member, header)
    member.write(pickled)
    plain = io.BytesIO()
    np.save(plain, np.asarray(labels))
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("x_train.npy", member.getvalue())
        archive.writestr("y_train.npy", plain.getvalue())
    return whole.getvalue()


class Attack:
    def __init__(self, call, *arguments):
        self._made_by = call, arguments

    def __reduce__(self):
        return self._made_by


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_calls_something_is_refused_and_nothing_runs(tmp_path, protocol):
    target = tmp_path / "made-by-the-attack"
    for attack in (Attack(os.mkdir, str(target)), Attack(eval, f"__import__('os').mkdir({str(target)!r})")):
        path = tmp_path / "imdb.npz"
        path.write_bytes(npz_with(pickle.dumps(object_array([[1], [attack]]), protocol), [0, 1]))
        with pytest.raises(
            DataError, match=r"'x_train' asks for .*: a pickle that holds more than lists of ids"
        ):
            load_imdb(path)
        assert not target.exists()
        # The same file does run code where pickles are let through: the attack is a real one.
    with np.load(path, allow_pickle=True) as trusting:
        assert trusting["x_train"].shape == (2,)
    assert target.exists()


@pytest.mark.parametrize(
    "entries",
    [[[1], "word"], [[1], [2.0]], [[1], [True]], [[1], {"a": 1}], [[1], [[2]]], [[1], None], [[1], (2,)]],
)
def test_anything_but_lists_of_integers_is_refused(tmp_path, entries):
    path = save_npz(tmp_path / "imdb.npz", entries, [0, 1])
    with pytest.raises(DataError, match=r"x_train\[1\] is no list of integers, and nothing else is accepted"):
        load_imdb(path)


@pytest.mark.parametrize(
    "pickled",
    [
        pickle.dumps([[1], [2]]),
        pickle.dumps(np.dtype("O")),
        pickle.dumps(np.array([1.0, 2.0]), 2),
        pickle.dumps(object_array([[1], [2]]))[:-20],
        b"not a pickle",
        b"cnumpy\ndtype\n}b.",  # sets the state of a function
        b"cnumpy\nndarray\n)\x81.",  # makes an object from a stand-in that is no class
    ],
)
def test_other_pickles_are_refused(tmp_path, pickled):
    path = tmp_path / "imdb.npz"
    path.write_bytes(npz_with(pickled, [0, 1]))
    with pytest.raises(
        DataError, match=r"imdb\.npz: 'x_train' (is no array of lists|holds more than lists|asks for)"
    ):
        load_imdb(path)


@pytest.mark.parametrize(
    ("lists", "labels", "message"),
    [
        ([[1], [0]], [0, 1], r"x_train\[1\] holds the id 0, but words count from 1"),
        ([[1], [-5]], [0, 1], r"x_train\[1\] holds the id -5, but words count from 1"),
        ([[1], [2]], [0, 2], "y_train holds 2, which is no class; classes are 0 and 1"),
        ([[1], [2]], [0, 0.5], "y_train holds 0.5, which is no class"),
        ([[1], [2]], [0], "x_train has 2 reviews but y_train has another shape"),
    ],
)
def test_ids_and_labels_out_of_range_are_named(tmp_path, lists, labels, message):
    path = save_npz(tmp_path / "imdb.npz", lists, labels)
    with pytest.raises(DataError, match=message):
        load_imdb(path)


def test_damaged_and_foreign_files_are_named(tmp_path):
    whole = save_npz(tmp_path / "imdb.npz", [[1], [2]], [0, 1]).read_bytes()
    (tmp_path / "imdb.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"imdb\.npz is damaged \(.*\); fetch it again"):
        load_imdb(tmp_path / "imdb.npz")
    np.savez(tmp_path / "other.npz", x=[1])
    with pytest.raises(DataError, match=r"has no array 'x_train': this is not Keras's imdb\.npz"):
        load_imdb(tmp_path / "other.npz")

    with pytest.raises(DataError, match="nowhere does not exist; give imdb"):
        load_imdb(tmp_path / "nowhere")
    (tmp_path / "a.pdf").write_text("x")
    with pytest.raises(DataError, match=r"a\.pdf is none of imdb\.npz"):
        load_imdb(tmp_path / "a.pdf")

    archive = tmp_path / "aclImdb_v1.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(fill_folder(tmp_path / "aclImdb"), arcname="aclImdb")
    archive.write_bytes(archive.read_bytes()[:200])
    with pytest.raises(
        DataError, match=r"aclImdb_v1\.tar\.gz is damaged or cut short \(.*\); fetch it again"
    ):
        load_imdb(archive)
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "a.pdf", arcname="aclImdb/README")
    with pytest.raises(DataError, match="holds no reviews in train/neg; give aclImdb"):
        load_imdb(archive)


def test_folders_without_reviews_are_named(tmp_path):
    with pytest.raises(DataError, match="has no train/pos; give the folder that aclImdb"):
        load_imdb(tmp_path)
    (tmp_path / "train" / "pos").mkdir(parents=True)
    with pytest.raises(
        DataError, match=r"neg holds no reviews \(\*\.txt\); unpack aclImdb_v1\.tar\.gz again"
    ):
        load_imdb(tmp_path)
    fill = tmp_path / "train" / "neg"
    fill.mkdir()
    (fill / "0_1.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match=r"0_1\.txt, line 1: byte 0xe9 is not UTF-8 text"):
        load_imdb(tmp_path)


def test_reviews_are_shuffled_as_by_keras_and_their_positions_known(tmp_path):
    lists = [[k + 1] for k in range(40)]
    path = save_npz(tmp_path / "imdb.npz", lists, [0] * 20 + [1] * 20)
    corpus = load_imdb(path)
    order = np.arange(40)
    np.random.RandomState(113).shuffle(order)  # what keras.datasets.imdb.load_data does
    assert corpus.positions.tolist() == order.tolist()
    assert [ids.tolist() for ids in corpus.sequences] == [[1, 4 + k] for k in order]
    assert corpus.labels.tolist() == (order >= 20).tolist()
    assert len(set(corpus.labels[-8:])) == 2, "the last fifth holds both classes"
    assert load_imdb(path, seed=1).positions.tolist() != order.tolist()

    _, held = split_blocks(corpus.labels, corpus.classes, block=4, positions=corpus.positions)
    assert sorted(corpus.positions[held]) == [16, 17, 18, 19, 36, 37, 38, 39]


def test_reviews_as_texts_come_in_the_order_of_the_file(tmp_path):
    table = imdb_texts(fill_folder(tmp_path / "aclImdb"))
    assert list(table.texts) == list(table.texts) == IN_ORDER
    assert table.labels.tolist() == [0, 0, 1, 1, 1]
    assert table.classes == ("negative", "positive")
    assert table.positions.tolist() == [0, 1, 2, 3, 4]

    path = save_npz(tmp_path / "imdb.npz", [[1, 2], [3]], [0, 1])
    with pytest.raises(
        DataError, match=r"imdb\.npz holds word ids alone; put imdb_word_index\.json beside it"
    ):
        imdb_texts(path)
    (tmp_path / "imdb_word_index.json").write_text(json.dumps({"and": 2, "the": 1, "a": 3}))
    assert list(imdb_texts(path).texts) == ["the and", "a"]
