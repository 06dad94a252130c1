from __future__ import annotations

import re
from importlib.resources import files

import pytest

from medxz.web.pages import CONTENT_SECURITY_POLICY, STATIC_PATHS

STATIC = files("medxz.web") / "static"
NAMES = ("docs.html", *STATIC_PATHS.values())
# the namespace of SVG is a name, nothing is fetched by it
NAMESPACE = "http://www.w3.org/2000/svg"


@pytest.mark.parametrize("name", NAMES)
def test_no_other_place_is_asked(name):
    """Nothing in the page's files names another origin."""
    text = (STATIC / name).read_text("utf-8").replace(NAMESPACE, "")
    assert not re.search(r"(?:https?|wss?):|[\"'(]//", text)
    assert "@import" not in text


def test_nothing_is_inline():
    """The page carries no script, style or handler of its own, which its policy would refuse."""
    html = (STATIC / "docs.html").read_text("utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=", html)
    script = (STATIC / "docs.js").read_text("utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", script
    )


@pytest.mark.parametrize("path", ["/docs", *STATIC_PATHS])
async def test_what_is_served(face, path):
    """The page and its files come with their types and a strict policy, to anyone."""
    response = await face.client.get(path, headers={"Authorization": ""})
    assert response.status_code == 200
    assert response.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert "default-src 'none'" in CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    name = "docs.html" if path == "/docs" else STATIC_PATHS[path]
    assert response.text == (STATIC / name).read_text("utf-8")
    kind = {"html": "text/html", "js": "text/javascript", "css": "text/css"}[name.rsplit(".", 1)[1]]
    assert response.headers["Content-Type"] == f"{kind}; charset=utf-8"
