// The index: sort by column, filter by words.

const body = document.getElementById("rows"), all = [...body.rows], heads = [...document.querySelectorAll("thead th")];

function valueOf(row, column) {
  const cell = row.cells[column], by = cell.dataset.by ?? cell.textContent;
  return by !== "" && !Number.isNaN(Number(by)) ? Number(by) : by.toLowerCase();
}

const compare = (a, b) => (typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1);

heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of heads) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const keyed = all.map((row) => [valueOf(row, column), row]).sort((a, b) => (down ? -1 : 1) * compare(a[0], b[0]));
  body.append(...keyed.map(([, row]) => row));
}));

document.getElementById("find").addEventListener("input", (event) => {
  const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of all) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
  }
});
