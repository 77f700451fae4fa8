// The frame at /embed/NAME: only the element, whose attributes come from the query.

import "./element.js";

const query = new URLSearchParams(location.search);
const element = document.createElement("rtlogd-stream");
const name = location.pathname.slice(location.pathname.lastIndexOf("/") + 1);
element.setAttribute("src", new URL(`../streams/${name}`, location.href).href);
for (const attribute of ["filter", "level", "tail", "limit", "numbers", "timestamps", "wrap", "theme", "progress-only", "token-url"]) {
  const value = query.get(attribute);
  if (value !== null) element.setAttribute(attribute, value);
}
element.setAttribute("height", "100%");
const token = query.get("access_token");
if (token) Object.assign(element, { getToken: () => token });
document.title = `${decodeURIComponent(name)} – rtlogd`;
document.documentElement.dataset.theme = query.get("theme") ?? "";
document.body.append(element);
