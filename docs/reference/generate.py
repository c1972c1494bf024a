"""Writes the pages of reference from the code: `python docs/reference/generate.py`; with --check only compares them."""

import sys
from pathlib import Path

import commands_page
import fit_page
import mlflow_page
import settings_page

HERE = Path(__file__).resolve().parent
PAGES = {
    "cli.md": commands_page.page,
    "config.md": settings_page.page,
    "mlflow.md": mlflow_page.page,
    "fit_json.md": fit_page.page,
}
NOTE = "<!-- Written by docs/reference/generate.py from the code. Do not edit. -->"


def main(words: list[str]) -> int:
    """Returns 0 when the pages are written or, with --check, are what would be written; 1 when they are not."""
    stale: list[str] = []
    for name, page in PAGES.items():
        path, text = HERE / name, "\n".join([NOTE, "", *page()]) + "\n"
        if not path.is_file() or path.read_text() != text:
            stale.append(name)
            if "--check" not in words:
                path.write_text(text)
    if stale and "--check" in words:
        print(f"docs/reference: {', '.join(stale)} no longer say what the code does; type: "
              "python docs/reference/generate.py", file=sys.stderr)  # fmt: skip
        return 1
    print(f"docs/reference: {', '.join(stale) or 'nothing'} written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
