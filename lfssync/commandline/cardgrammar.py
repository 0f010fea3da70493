"""The command about model cards, as data.

Part of the table of `grammar`. The one thing to know: its function is the one in `cardcommand`.
"""

from __future__ import annotations

from lfssync.commandline.syntax import JSON, MAYBE_MIRROR, Argument, Command, switch

CARD_COMMAND = Command(
    "card",
    "Versions",
    "draft, show, check or edit the model card",
    "new prints a README.md drafted from what the directory holds, show prints the card that is there, "
    "check holds it to the rules of the Hugging Face Hub, edit opens it in your editor and checks it. "
    "Only new --write and edit write README.md into the directory; a text that is there is never replaced unseen.",
    ("lfssync card new my-model", "lfssync card new my-model --write", "lfssync card check my-model"),
    (
        Argument(("action",), "new, show, check or edit", "ACTION", choices=("new", "show", "check", "edit")),
        MAYBE_MIRROR,
        switch("--write", help="with new: write README.md into the directory, if it has none"),
        switch("--force", help="with edit: write it also when it is wrong"),
        JSON,
    ),
)
