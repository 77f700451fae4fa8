// How logs and bars look, on the page and in the element: one style sheet, made by the object model, which a strict policy allows.

import { DAY, NIGHT } from "./colours.js";
import { ROW, STAY } from "./headings.js";

const LOOK = `
.log{--log-bg:light-dark(#${DAY[17]},#${NIGHT[17]});--log-fg:light-dark(#${DAY[16]},#${NIGHT[16]});--log-dim:light-dark(#5f6873,#8993a0);
--log-line:light-dark(#0000000a,#ffffff0a);--log-edge:light-dark(#e2e5e9,#242b35);--log-link:light-dark(#0a58ca,#79b8ff);
position:relative;overflow:auto;overflow-anchor:none;scroll-padding-top:${STAY*ROW}px;background:var(--log-bg);color:var(--log-fg);padding:0 0 8px;box-sizing:border-box;
font:12.5px/${ROW}px ui-monospace,SFMono-Regular,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;tab-size:8;scrollbar-width:thin;contain:strict}
.log:focus-visible{outline:2px solid var(--log-link);outline-offset:-2px}
.row{display:flex;min-height:${ROW}px;padding:0 16px 0 12px;white-space:pre;width:max-content;min-width:100%;box-sizing:border-box;unicode-bidi:isolate;direction:ltr}
.row:hover{background:var(--log-line)}
.wrap .row{width:auto;white-space:break-spaces;overflow-wrap:anywhere}
.text{min-width:0;flex:1}
.row[data-origin=stderr]{box-shadow:inset 2px 0 light-dark(#d9a441,#9a7420)}
.row[data-level=warning]{background:light-dark(#fff8e6,#241d0c)}
.row:is([data-level=error],[data-level=critical],[data-level=alert],[data-level=emergency]){background:light-dark(#fff0ee,#2b1315);box-shadow:inset 2px 0 light-dark(#cf222e,#f85149)}
.note .text{color:var(--log-dim);font-family:system-ui,sans-serif;font-size:12px}
.note .text:before{content:"";display:inline-block;width:7px;height:7px;border-radius:50%;margin-right:9px;background:currentColor}
.note.good .text{color:light-dark(#1a7f37,#56d364)}.note.bad .text{color:light-dark(#c62030,#ff7b72)}
.open .text{color:var(--log-dim)}.open{display:block}.open:empty{display:none}
.number,.time,.origin,.name{flex:none;color:var(--log-dim);user-select:none;padding-right:16px;text-decoration:none}
.number{min-width:calc(var(--digits,6)*1ch + 16px);text-align:right;box-sizing:border-box}.number:hover{color:var(--log-link);text-decoration:underline}
.open :is(.number,.time,.origin){visibility:hidden}
.rule{background-image:linear-gradient(var(--log-edge),var(--log-edge));background-size:100% 1px;background-repeat:no-repeat}
.row[data-day]::after{content:attr(data-day);content:attr(data-day)/"";position:sticky;right:16px;padding-left:16px;color:var(--log-dim);font:12px/${ROW}px system-ui,sans-serif}
.log .text{padding-left:calc(var(--depth,0)*16px)}
.fold{all:unset;flex:1;min-width:0;cursor:pointer;font-weight:600;padding-left:calc(var(--depth,0)*16px + 16px);text-indent:-16px}
.fold.dim{opacity:1;color:var(--log-dim)}
.fold::before{content:"\\25B8";content:"\\25B8"/"";display:inline-block;width:16px;text-indent:0;color:var(--log-dim)}
.fold[aria-expanded=true]::before{content:"\\25BE";content:"\\25BE"/""}
.fold:focus-visible{outline:2px solid var(--log-link)}
.fold:disabled{cursor:auto}.fold:disabled::before{visibility:hidden}
.took{order:1;flex:none;padding-left:2ch;white-space:pre;color:var(--log-dim)}
.lasted{min-width:10ch;box-sizing:border-box;text-align:right;font-variant-numeric:tabular-nums}
.stay{position:sticky;top:0;left:0;z-index:1;background:var(--log-bg);box-shadow:0 1px var(--log-edge);user-select:none}.stay:empty{box-shadow:none}
.stay .row{width:auto;height:${ROW}px;white-space:pre;overflow:hidden;background-image:none}.stay .row::after{display:none}
.stay [data-text]::after{content:attr(data-text)}.stay *{scroll-margin-top:-${STAY*ROW}px}.stay .fold{overflow:hidden;text-overflow:ellipsis}.stay .fold:focus-visible{outline-offset:-2px}
.tag,.section{font-weight:700}.error .tag,.took.failed{color:light-dark(#c62030,#ff7b72)}.warning .tag{color:light-dark(#8a5a00,#e3b341)}.notice .tag,.command{color:var(--log-link)}.debug,.place{color:var(--log-dim)}
.text a{color:var(--log-link);text-underline-offset:2px}
mark{background:light-dark(#ffe08a,#6b5200);color:light-dark(#1c2128,#fff)!important;border-radius:2px}
.more{all:unset;cursor:pointer;margin-left:1ch;color:var(--log-link);text-decoration:underline}
.more:focus-visible{outline:2px solid var(--log-link)}
.bold{font-weight:700}.italic{font-style:italic}.hidden{color:transparent!important}
.inverse{background:var(--log-fg);color:var(--log-bg)}
.fg{--ink:light-dark(oklch(from var(--fg) min(l,.5) c h),oklch(from var(--fg) max(l,.7) c h))}
${DAY.slice(0,16).map((day, n) => `.fg${n}{--ink:light-dark(#${day},#${NIGHT[n]})}`).join("")}
[class*=fg]{color:var(--ink)}.text .dim:not([class*=bg],.inverse){color:color-mix(in oklab,var(--ink,var(--log-fg)),var(--log-dim))}
.bg{background:var(--bg);color:oklch(from color(from var(--bg) xyz y y y) clamp(0,(.5654 - l)*100000,1) 0 0)}
${DAY.slice(0,16).map((day, n) => `.bg${n}{background:light-dark(#${day},#${NIGHT[n]});color:var(--log-bg)}`).join("")}
.fgbg{color:var(--fg)}
.bar{height:4px;border-radius:2px;overflow:hidden;background:light-dark(#0000001a,#ffffff1f)}
.bar div{height:100%;border-radius:2px;background:light-dark(#2459d6,#7aa2ff);transition:width .3s}
.bar[data-state=done] div{background:light-dark(#1a7f37,#3fb950)}.bar[data-state=error] div{background:light-dark(#cf222e,#f85149)}
.bar[data-state=paused] div{background:light-dark(#bf8700,#d29922)}
.bar[data-state=indeterminate] div{width:30%;animation:to-and-fro 1.6s ease-in-out infinite alternate}
@keyframes to-and-fro{from{margin-left:0}to{margin-left:70%}}
@media(prefers-reduced-motion:reduce){.bar div{animation:none!important;transition:none}}
[hidden]{display:none!important}
`;

/**
 * A style sheet for a document or a shadow root.
 * @param {string} more rules that go with these
 */
export function sheet(more) {
  const made = new CSSStyleSheet();
  made.replaceSync(LOOK + more);
  return made;
}
