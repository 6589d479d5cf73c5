"""The style sheet of the reference page."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark; --line: #8884; --soft: #8881; --get: #2563a8; --post: #2d7a46;
}
body {
  font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem
  1.25rem 4rem;
}
header { border-bottom: 1px solid var(--line); padding-bottom: .75rem; }
h1 { font-size: 1.6rem; margin: .5rem 0; }
h1 small { font-weight: 400; opacity: .6; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 0; }
h4 { font-size: .85rem; margin: .75rem 0 .25rem; opacity: .7; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere; }
details, article {
  border: 1px solid var(--line); border-radius: .4rem; margin: .5rem 0; padding: .5rem
  .75rem;
}
summary { cursor: pointer; }
summary span { opacity: .75; display: block; margin-left: 1.1rem; font-size: .95rem; }
summary b {
  display: inline-block; min-width: 3.2rem; text-align: center; border-radius: .25rem;
  color: #fff; background: #555; font-size: .8rem; padding: .1rem .3rem;
}
summary b.get { background: var(--get); }
summary b.post { background: var(--post); }
pre {
  background: var(--soft); padding: .5rem .75rem; border-radius: .25rem; overflow-x: auto;
  font: .85rem/1.4 ui-monospace, monospace; margin: 0;
}
.access { background: var(--soft); padding: .25rem .5rem; border-radius: .25rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td {
  text-align: left; vertical-align: top; padding: .2rem .6rem .2rem 0; border-top: 1px
  solid var(--line); overflow-wrap: anywhere;
}
th { width: 22%; font-weight: 600; }
td:nth-child(2) { width: 30%; }
em { opacity: .6; }
"""
