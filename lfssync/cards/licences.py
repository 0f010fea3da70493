"""Licences as the Hub names them. Pure.

Used by `checking`, and by `reading` where a directory has a LICENSE file. The one thing to know: only texts whose title
leaves no doubt are recognised; a wrong licence is worse than none.

Source: hub-docs, licenses.
"""

from __future__ import annotations

import re

_NAMES = """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
    afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0
    lgpl lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl
    openmdw-1.0 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license
    fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 grok2-community gemma unknown
    other
"""
KNOWN = frozenset(_NAMES.split())

LIST_URL = "https://huggingface.co/docs/hub/repositories-licenses"

_TITLES = (
    (r"Apache License\s+Version 2\.0", "apache-2.0"),
    (r"(?:The )?MIT License", "mit"),
    (r"GNU AFFERO GENERAL PUBLIC LICENSE\s+Version 3", "agpl-3.0"),
    (r"GNU LESSER GENERAL PUBLIC LICENSE\s+Version 3", "lgpl-3.0"),
    (r"GNU GENERAL PUBLIC LICENSE\s+Version 3", "gpl-3.0"),
    (r"GNU GENERAL PUBLIC LICENSE\s+Version 2", "gpl-2.0"),
    (r"Mozilla Public License Version 2\.0", "mpl-2.0"),
    (r"BSD 3-Clause License", "bsd-3-clause"),
    (r"BSD 2-Clause License", "bsd-2-clause"),
)


def identified(value: object) -> str:
    """The Hub's name for a licence that a file names, such as `Apache-2.0`; empty when it has none."""
    name = value.strip().lower() if isinstance(value, str) else ""
    return name if name in KNOWN - {"unknown", "other"} else ""


def of_text(text: bytes) -> str:
    """The Hub's name for the text of a licence; empty when it is not surely one of the common ones."""
    beginning = text[:4096].decode("utf-8", "replace").lstrip("\ufeff# \t\r\n")
    return next((name for title, name in _TITLES if re.match(title, beginning, re.IGNORECASE)), "")
