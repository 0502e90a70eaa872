// The head of a list ticks all rows that are shown, and then the way to all that match is told with their number.

const head = document.querySelector("[data-tick-all]");
const rows = head ? [...head.closest("table").querySelectorAll("tbody input[type=checkbox]")] : [];

function show() {
  const ticked = rows.filter((row) => row.checked).length;
  head.checked = ticked === rows.length;
  head.indeterminate = ticked > 0 && ticked < rows.length;
}

if (head) {
  head.hidden = false;
  show();
  head.addEventListener("change", () => {
    for (const row of rows) row.checked = head.checked;
    show();
    if (head.checked) document.getElementById("matching")?.dispatchEvent(new CustomEvent("plumbline:ticked"));
  });
  for (const row of rows) row.addEventListener("change", show);
}
