"""Write the page that `dvc plots` fills in, with Vega inside, so that plots show without the internet.

Needs the package vl-convert-python, which holds Vega: `make plots-page`.
"""

from pathlib import Path

import vl_convert

VEGA_LITE = "5.21"
"""DVC's plot templates are written for Vega-Lite 5."""

PAGE = """\
<!DOCTYPE html>
<!-- What `dvc plots` fills in (.dvc/config: plots.html_template). It holds Vega, Vega-Lite and Vega-Embed
     (BSD-3-Clause, https://vega.github.io), so that plots show without the internet. -->
<html>
<head>
<meta charset="utf-8">
{refresh_tag}
<title>Parrot: plots</title>
<style>body { font-family: sans-serif; } table { border-spacing: 15px; }</style>
<script>(() => {VEGA})();</script>
</head>
<body>
{plot_divs}
</body>
</html>
"""

bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
if "</script" in bundle.lower() or "{plot_divs}" in bundle:
    raise SystemExit("this Vega cannot stand inside of a page: it holds '</script' or '{plot_divs}'")
page = PAGE.replace("{VEGA}", "{" + bundle + "}")
Path(__file__).with_name("plots.html").write_text(page, encoding="utf-8")
