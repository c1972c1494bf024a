"""Runs every cell of a notebook in a kernel of this very Python: `python run_notebook.py NOTEBOOK RESULT`."""

import os
import sys

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient


def main(source: str, result: str) -> None:
    """Writes the notebook with its outputs; an error in a cell is an error here. No kernel need be registered."""
    notebook = nbformat.read(source, as_version=4)
    manager = AsyncKernelManager(kernel_name="python3")
    assert manager.kernel_spec is not None, "ipykernel brings one for the Python that runs it"
    manager.kernel_spec.argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    manager.kernel_spec.env = dict(os.environ)
    NotebookClient(notebook, km=manager, timeout=300).execute()
    nbformat.write(notebook, result)


if __name__ == "__main__":
    main(*sys.argv[1:])
