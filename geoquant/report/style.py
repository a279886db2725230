"""How a page looks: by day, by night, on a phone and on paper; and its one button."""

STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--muted:#667;--surface:#fff;--raised:#f4f5f7;
--line:#d9dce1;--geodesic:#0072b2;--kmeans:#c25400;--good:#00724f}
@media (prefers-color-scheme:dark){:root:not([data-theme=light]){--ink:#e6e8eb;--muted:#9aa3ad;
--surface:#14171a;--raised:#1e2226;--line:#363c43;--geodesic:#5ab4e8;--kmeans:#ff9248;
--good:#4bc99a}}
:root[data-theme=dark]{color-scheme:dark;--ink:#e6e8eb;--muted:#9aa3ad;--surface:#14171a;
--raised:#1e2226;--line:#363c43;--geodesic:#5ab4e8;--kmeans:#ff9248;--good:#4bc99a}
:root[data-theme=light]{color-scheme:light}
*{box-sizing:border-box}
body{margin:0;background:var(--surface);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif}
main{max-width:68rem;margin:0 auto;padding:1rem clamp(1rem,4vw,2rem) 3rem}
header{display:flex;gap:1rem;justify-content:space-between;align-items:start}
h1{font-size:1.35rem;line-height:1.25;margin:.4rem 0;overflow-wrap:anywhere}
h2{font-size:1.15rem;line-height:1.3;margin:0 0 .3rem}
p{margin:.4rem 0;max-width:72ch}
.facts{color:var(--muted);margin:0 0 1rem}
.verdict{background:var(--raised);border-left:.3rem solid var(--geodesic);
padding:.8rem 1.1rem;border-radius:.3rem}
.verdict h2{font-size:1.3rem}
.verdict ul{margin:.5rem 0 0;padding-left:1.1rem}
.verdict li{margin:.35rem 0;max-width:78ch}
.questions{display:grid;gap:0 2.5rem;grid-auto-flow:dense;align-items:start;
grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr))}
section{border-top:1px solid var(--line);margin-top:1.6rem;padding-top:1.1rem;min-width:0}
.wide{grid-column:1/-1}
@media (min-width:56rem){#codes{grid-row:span 2}}
.pictures{display:grid;gap:1.2rem 2.5rem;align-items:start;
grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr))}
figure{margin:.6rem 0 0;min-width:0;max-width:34rem}
figure svg{display:block;width:100%;height:auto;font-family:inherit}
figcaption{margin-top:.4rem;color:var(--muted);font-size:.9rem;max-width:60ch}
.scroll{overflow-x:auto}
table{border-collapse:collapse;margin:.8rem 0;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .8rem .3rem 0;text-align:right;border-bottom:1px solid var(--line)}
th:first-child{text-align:left;font-weight:normal}
thead th{color:var(--muted);font-weight:normal;font-size:.9rem}
td.best{color:var(--good);font-weight:600}
button{font:inherit;font-size:.9rem;color:var(--ink);background:var(--raised);
border:1px solid var(--line);border-radius:.3rem;padding:.3rem .7rem;cursor:pointer;
white-space:nowrap}
button:focus-visible,a:focus-visible{outline:2px solid var(--geodesic);outline-offset:2px}
nav{font-size:.9rem;margin-top:1rem}
nav a{color:var(--geodesic);margin-right:1rem;display:inline-block;padding:.15rem 0}
@media print{:root,:root[data-theme=dark],:root:not([data-theme=light]){color-scheme:light;
--ink:#000;--muted:#444;--surface:#fff;--raised:#fff;--line:#bbb;--geodesic:#0072b2;
--kmeans:#c25400;--good:#00724f}
button,nav{display:none}body{font-size:10.5pt}main{max-width:none;padding:0}
.questions,.wide .pictures{grid-template-columns:1fr 1fr;gap:0 .8cm}
.pictures{grid-template-columns:1fr}section,figure{break-inside:avoid}
.wide,#notes{break-inside:auto}
h2{break-after:avoid}.verdict,table{break-inside:avoid}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""

SCRIPT = """
(function () {
  var root = document.documentElement, button = document.getElementById("theme");
  button.hidden = false;
  function isDark() {
    var chosen = root.getAttribute("data-theme");
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }
  function show() { button.textContent = isDark() ? "Light" : "Dark"; }
  button.addEventListener("click", function () {
    root.setAttribute("data-theme", isDark() ? "light" : "dark");
    show();
  });
  show();
})();
"""
