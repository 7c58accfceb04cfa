// Filters: a page has one table of rows to find in, `#runs` or `#tests`. A choice names a word that must stand
// in the row's data; a cell of a campaign's matrix chooses by all of its words.
const one = (id) => document.querySelector(id);
const text = one('#find'), choices = [...document.querySelectorAll('select[data-of]')];
const rows = [...document.querySelectorAll('#runs > tbody > tr, #tests > tbody > tr')];
let cell = null;

function filter() {
  const wanted = text.value.toLowerCase();
  let shown = 0;
  for (const row of rows) {
    const data = row.dataset;
    const on = (!wanted || row.textContent.toLowerCase().includes(wanted))
      && choices.every((choice) => !choice.value || data[choice.dataset.of].split('|').includes(choice.value))
      && (!cell || (data.fault === cell[1] && data.guest === cell[3] && data.host_pmu === cell[4]));
    row.hidden = !on;
    shown += on;
  }
  one('#shown').textContent = shown + ' shown' + (cell ? ': ' + cell[3] + ', fault ' + cell[1] : '');
}

function clear() {
  cell = null;
  text.value = '';
  for (const choice of choices) choice.value = '';
}

if (text) {
  for (const input of [text, ...choices]) input.addEventListener('input', filter);
  one('#all').addEventListener('click', () => { clear(); filter(); });
  for (const link of document.querySelectorAll('[data-show]')) {
    const open = () => {
      clear();
      cell = JSON.parse(link.dataset.show);
      one('#profile').value = cell[0];
      one('#verdict').value = cell[2];
      filter();
      one('#runs').scrollIntoView();
    };
    link.addEventListener('click', open);
    link.addEventListener('keydown', (event) => { if (event.key === 'Enter') open(); });
  }
  filter();
}
