"""Whatever users choose by name: a registry is a table of entries, and a new choice is one row and one module.

Config, command-line help, `fervid doctor` and error messages are made from the rows. READERS, DETECTORS and EMBEDDERS
stand here because Config, which may import none of the modules that they name, validates against them; the others
stand beside what they name: networks.registry.ARCHITECTURES, views.export.formats.FORMATS. A target is text: reading a
table imports nothing; `Entry.load` imports the one module that was chosen.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["DETECTORS", "EMBEDDERS", "READERS", "DetectorEntry", "Entry", "describe"]


@dataclass(frozen=True)
class Entry:
    """One row of a registry.

    Parameters
    ----------
    target : str
        Where the implementation is, as "package.module:name".
    help : str
        One line that describes the entry to a user.
    extra : str
        The optional dependency group that it needs (`pip install '.[extra]'` in a checkout); empty if none.
    options : dict
        Keyword arguments with which the implementation is always called.
    takes : tuple[str, ...]
        Names of the caller's keyword arguments that the implementation takes; `create` drops the others.
    weights : str
        Where the function is that finds the files of its weights, in the form of `target`; empty if it has none.
    url : str
        Where its weights are downloaded from on first use; empty if they are not.
    """

    target: str
    help: str = ""
    extra: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    takes: tuple[str, ...] = ()
    weights: str = ""
    url: str = ""

    def load(self) -> Any:
        """Import the implementation.

        Returns
        -------
        Any
            The class or function that `target` names.

        Raises
        ------
        ImportError
            If its module, or an optional dependency of it, is not installed.
        """
        return _import(self.target)

    def create(self, *args: Any, **context: Any) -> Any:
        """Import the implementation and call it.

        Parameters
        ----------
        *args
            Positional arguments.
        **context
            What the caller knows. The implementation gets those that `takes` names.

        Returns
        -------
        Any
            Whatever the implementation returns, usually an instance.

        Raises
        ------
        ImportError
            As `load`; the implementation may raise other errors.
        """
        taken = {name: context[name] for name in self.takes if name in context}
        return self.load()(*args, **taken, **self.options)

    def find_weights(self, *args: Any) -> Any:
        """Find the files of its weights without reading them.

        Parameters
        ----------
        *args
            Arguments of the function that `weights` names.

        Returns
        -------
        Any
            A path, or several.

        Raises
        ------
        ImportError
            If the weights come with a package that is not installed.
        WeightsError
            If a file is missing or is another one.
        """
        return _import(self.weights)(*args)


def _import(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class DetectorEntry(Entry):
    """One face detector.

    Parameters
    ----------
    face_px : int
        Smallest face that it finds reliably, in pixels of the image in which it searches
        (tests/benchmarks/detectors.py).
    """

    face_px: int = 20


#: How the reader av, and those that build on it, find the times of frames.
_CLOCKS = ("repair_time", "decoding_time", "synthetic_time", "rate")
#: To add a reader, add one row and its module: a video.reader.Reader. All take path, stream and max_pixels.
READERS: dict[str, Entry] = {
    "av": Entry(
        "fervid.video.readers.pyav:PyAVReader",
        help="whatever FFmpeg decodes, damaged files too",
        takes=("stream", "max_pixels", "careful", *_CLOCKS, "sampling", "rotate"),
    ),
    "decord": Entry("fervid.video.readers.decord:DecordReader", help="clean files", takes=("stream", "max_pixels")),
    "torchcodec": Entry(
        "fervid.video.readers.torchcodec:TorchcodecReader",
        help="clean files, on a GPU too",
        extra="torchcodec",
        takes=("stream", "max_pixels", "device"),
    ),
    "nvdec": Entry(
        "fervid.video.readers.nvdec:NvdecReader",
        help="on an NVIDIA GPU",
        takes=("stream", "max_pixels", "device", "careful", *_CLOCKS, "rotate"),
    ),
    "auto": Entry("", help="nvdec for what the GPU decodes, av for the rest"),
}

#: To add a detector, add one row and its module: a faces.detector.FaceDetector.
DETECTORS: dict[str, DetectorEntry] = {
    "mtcnn": DetectorEntry(
        "fervid.faces.mtcnn:MTCNN",
        takes=("device",),
        weights="fervid.faces.detector_weights:find_mtcnn",
        face_px=20,
    ),
    "centerface": DetectorEntry(
        "fervid.faces.centerface:CenterFace",
        help="small faces and profiles",
        extra="centerface",
        takes=("device", "precision"),
        weights="fervid.faces.detector_weights:find_centerface",
        face_px=12,
    ),
}

#: To add a network that distinguishes persons, add one row and its module: a tracks.persons.Embedder.
EMBEDDERS: dict[str, Entry] = {
    "dlib": Entry(
        "fervid.tracks.dlib_embedder:DlibFaces",
        help="from a package",
        extra="persons",
        takes=("device",),
        weights="fervid.networks.dlib_resnet:find_dlib_weights",
    ),
    "vggface2": Entry(
        "fervid.tracks.facenet_embedder:FaceNet",
        help="downloaded once, 107 MB; a file with its weights may be named instead",
        takes=("weights", "device"),
        weights="fervid.tracks.facenet_embedder:find_vggface2",
        url="https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/20180402-114759-vggface2.pt",
    ),
}


def describe(entries: Mapping[str, Entry]) -> str:
    """List the entries of a registry for help texts, as "a (what it is), b (what it is)".

    Parameters
    ----------
    entries : Mapping[str, Entry]

    Returns
    -------
    str
    """
    return ", ".join(f"{name} ({entry.help})" if entry.help else name for name, entry in entries.items())
