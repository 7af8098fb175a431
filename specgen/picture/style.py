"""The colors of a picture, in light and dark mode, and its arrowheads."""

from __future__ import annotations

# Three faces of a block, front, side and top, and their edges.
LIGHT = {
    "image": ("#dafbe1", "#aceebb", "#f0fff3", "#1a7f37"),
    "maps": ("#ddf4ff", "#b6e3ff", "#eaf5ff", "#0969da"),
    "features": ("#fff1e5", "#ffd8b5", "#fff8f2", "#bc4c00"),
}
DARK = {
    "image": ("#033a16", "#04260f", "#0f5323", "#3fb950"),
    "maps": ("#0c2d6b", "#051d4d", "#1158a6", "#58a6ff"),
    "features": ("#5a1e02", "#3d1300", "#762d0a", "#f0883e"),
}


def _blocks(colors: dict[str, tuple[str, str, str, str]]) -> str:
    rules = []
    for kind, (front, side, top, edge) in colors.items():
        rules.append(f".{kind}{{fill:{front};stroke:{edge}}}")
        rules.append(f".{kind} .s{{fill:{side}}}.{kind} .t{{fill:{top}}}")
    return "\n".join(rules)


STYLE = f"""\
.page{{fill:#fff}}
.lane{{fill:#f6f8fa;stroke:#d0d7de}}
.budget{{fill:#d0d7de}}
.mark{{fill:#fff8c5;stroke:#d4a72c}}
.held{{fill:#0969da}}
text{{fill:#1f2328}}
.b{{font-weight:600}}
.m{{text-anchor:middle}}
.e{{text-anchor:end}}
.d{{fill:#59636e}}
.a,.k{{stroke:#59636e;stroke-width:1.2;fill:none}}
.x{{stroke:#cf222e;stroke-width:1.4;fill:none}}
.r{{stroke-dasharray:4 3}}
.ah{{fill:#59636e}}
.xh,.xt,.over{{fill:#cf222e}}
{_blocks(LIGHT)}
@media (prefers-color-scheme:dark){{
.page{{fill:#0d1117}}
.lane{{fill:#151b23;stroke:#3d444d}}
.budget{{fill:#3d444d}}
.mark{{fill:#341a00;stroke:#9e6a03}}
.held{{fill:#58a6ff}}
text{{fill:#f0f6fc}}
.d{{fill:#9198a1}}
.a,.k{{stroke:#9198a1}}
.x{{stroke:#ff7b72}}
.ah{{fill:#9198a1}}
.xh,.xt,.over{{fill:#ff7b72}}
{_blocks(DARK)}
}}"""

_HEAD = (
    '<marker id="{0}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"'
    ' markerHeight="7" markerUnits="userSpaceOnUse" orient="auto">'
    '<path class="{0}" d="M0 0L8 4L0 8z"/></marker>'
)
MARKERS = "\n".join(("<defs>", _HEAD.format("ah"), _HEAD.format("xh"), "</defs>"))
