"""Whether people without a mouse, without sight or with weak sight can use what a page shows: our own checks.

After the rules of axe-core and WCAG 2.2: every control has an accessible name (4.1.2), pictures say what they show
(1.1.1), text has a contrast of at least 4.5:1, of 3:1 where it is large (1.4.3), and what can be clicked can be reached by
Tab (2.1.1).
"""

from __future__ import annotations

from typing import Any

_CONTROLS = (
    "button, input:not([type=hidden]), select, textarea, a[href], [role=button], [role=slider], [role=radio], summary"
)

_NAMELESS = """
root => {
  const named = e => {
    const by = (e.getAttribute('aria-labelledby') || '').split(/\\s+/).filter(Boolean)
      .map(id => document.getElementById(id)?.textContent || '').join(' ');
    const labels = [...(e.labels || [])].map(l => l.textContent).join(' ');
    const own = e.matches('button, a, summary, [role=button]') ? e.textContent : '';
    const pictures = [...e.querySelectorAll('img[alt], svg[aria-label], svg > title')]
      .map(p => p.getAttribute('alt') || p.getAttribute('aria-label') || p.textContent).join(' ');
    return [e.getAttribute('aria-label'), by, labels, own, pictures, e.title, e.placeholder,
            e.matches('input[type=submit], input[type=button]') ? e.value : '']
      .some(text => text && text.trim());
  };
  const seen = e => e.checkVisibility({visibilityProperty: true}) && e.getBoundingClientRect().width > 0;
  const controls = [...root.querySelectorAll(CONTROLS)].filter(e => seen(e) && !named(e));
  const pictures = [...root.querySelectorAll('img, svg')].filter(e => seen(e) && !e.closest('[aria-hidden=true]') && !(
    e.hasAttribute('alt') || e.getAttribute('aria-label') || e.querySelector(':scope > title') || e.closest('button, a')));
  return [...controls, ...pictures].map(e => e.outerHTML.slice(0, 200));
}
"""

_PALE = """
root => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const light = c => c.slice(0, 3).map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const below = e => {
    const layers = [];
    for (let at = e; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (style.backgroundImage !== 'none') return null;  // a picture: nothing can be said
      const colour = rgba(style.backgroundColor);
      if (colour[3] > 0) layers.push(colour);
      if (colour[3] === 1) break;
    }
    return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255, 1]);
  };
  const faded = e => {
    let all = 1; for (let at = e; at; at = at.parentElement) all *= +getComputedStyle(at).opacity; return all;
  };
  const found = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), e = walker.currentNode.parentElement;
    if (!text || !e.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue;
    if (e.closest('style, script, title, [disabled]')) continue;
    const style = getComputedStyle(e), ground = below(e);
    if (!ground) continue;
    const ink = rgba(e.closest('svg') && e.localName !== 'title' ? style.fill : style.color);
    ink[3] *= faded(e);
    const [a, b] = [light(over(ink, ground)), light(ground)].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05), size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) found.push(`${ratio.toFixed(2)}:1 ${JSON.stringify(text.slice(0, 60))}`);
  }
  return found;
}
"""


def nameless(root: Any) -> list[str]:
    """Controls and pictures below a locator that say nothing to a screen reader."""
    return list(root.evaluate(_NAMELESS.replace("CONTROLS", repr(_CONTROLS))))


def pale(root: Any) -> list[str]:
    """Texts below a locator whose contrast is too low, with the ratio. Disabled controls are exempt (WCAG 1.4.3)."""
    return list(root.evaluate(_PALE))


def reached_by_tab(page: Any, steps: int = 80) -> list[str]:
    """The names of what the Tab key comes to from where the focus is, in order, as far as it stays in an output."""
    name = """() => { const e = document.activeElement;
      if (!e || !e.closest('.jp-OutputArea, main')) return null;
      return (e.getAttribute('aria-label') || e.textContent || [...(e.labels || [])].map(l => l.textContent).join(' ')
              || e.title || e.placeholder || e.localName).trim(); }"""
    found: list[str] = []
    for _ in range(steps):
        here = page.evaluate(name)
        if here is None:
            break
        found.append(str(here))
        page.keyboard.press("Tab")
    return found
