// A flame graph that is zoomed by a click and searched by words, as wide as the window, on a phone too.
(() => {
  const svg = document.currentScript.closest('svg'), PAD = 10, CHARACTER = 6.6, INK = .3;
  const find = (name) => svg.querySelector('.' + name);
  const title = find('title'), told = find('told'), back = find('back');
  const frames = [...svg.querySelectorAll('.f')].map((node) => ({
    node, box: node.querySelector('rect'), label: node.querySelector('text'),
    tip: node.querySelector('title').textContent, name: node.querySelector('title').textContent.replace(/: [\d,]+ \(.*$/, ''),
    x: +node.dataset.x, w: +node.dataset.w,
  }));
  const whole = title.textContent, sum = told.textContent, height = svg.viewBox.baseVal.height;
  let view = { x: 0, w: 1 }, words = '';

  const cut = (text, width) => {
    const most = Math.floor(width / CHARACTER);
    return text.length <= most ? text : most > 3 ? text.slice(0, most - 2) + '..' : '';
  };
  const say = (text) => { told.textContent = cut(text, width() - told.getAttribute('x') - PAD); };
  // A phone lays an SVG out on a wide page and makes all of it small: take its own width then.
  const width = () => Math.max(Math.min(innerWidth, screen.width || innerWidth), 240);

  function draw() {
    const wide = width(), scale = (wide - 2 * PAD) / view.w;
    svg.setAttribute('viewBox', `0 0 ${wide} ${height}`);
    svg.setAttribute('width', innerWidth);
    svg.setAttribute('height', height * innerWidth / wide);
    title.setAttribute('x', wide / 2);
    title.textContent = cut(whole, (wide - 2 * PAD) * 11 / 15);
    field.parentNode.setAttribute('width', wide < 600 ? 140 : 240);
    told.setAttribute('x', (wide < 600 ? 140 : 240) + 2 * PAD);
    for (const one of frames) {
      const from = Math.max(one.x, view.x), to = Math.min(one.x + one.w, view.x + view.w);
      const size = (to - from) * scale, left = PAD + (from - view.x) * scale;
      one.node.style.display = size < INK ? 'none' : '';
      if (size < INK) continue;
      one.box.setAttribute('x', left);
      one.box.setAttribute('width', Math.max(size - .5, .1));
      one.node.classList.toggle('around', one.x < view.x - 1e-9 || one.x + one.w > view.x + view.w + 1e-9);
      one.label.setAttribute('x', left + 3);
      one.label.textContent = cut(one.name, size - 4);
    }
    say(words ? share() : view.w < 1 ? zoomed : sum);
  }

  let zoomed = '';
  function zoom(one) {
    view = one ? { x: one.x, w: one.w } : { x: 0, w: 1 };
    zoomed = one ? one.tip : '';
    draw();
  }

  // What is found counts once, however often it stands in a stack.
  let share = () => '';
  function search(text) {
    words = text.trim().toLowerCase();
    let sum = 0, end = -1;
    const hits = frames.filter((one) => words && one.name.toLowerCase().includes(words));
    for (const one of frames) one.node.classList.toggle('hit', hits.includes(one));
    for (const one of hits.sort((a, b) => a.x - b.x || b.w - a.w)) {
      if (one.x < end - 1e-9) continue;
      sum += one.w;
      end = one.x + one.w;
    }
    const part = (100 * sum).toFixed(2);
    share = () => `${hits.length} found, ${part}%`;
    draw();
  }

  const holder = document.createElementNS('http://www.w3.org/2000/svg', 'foreignObject');
  const field = document.createElementNS('http://www.w3.org/1999/xhtml', 'input');
  for (const [name, value] of Object.entries({ x: PAD, y: 30, height: 24 })) holder.setAttribute(name, value);
  field.setAttribute('placeholder', 'search');
  field.setAttribute('aria-label', 'search');
  field.setAttribute('style', 'width:100%;height:22px;box-sizing:border-box;font:12px monospace');
  field.addEventListener('input', () => search(field.value));
  holder.append(field);
  svg.append(holder);
  for (const one of frames) {
    one.node.addEventListener('click', () => zoom(one));
    one.node.addEventListener('mouseenter', () => say(one.tip));
    one.node.addEventListener('mouseleave', draw);
  }
  back.addEventListener('click', () => zoom());
  addEventListener('keydown', (event) => { if (event.key === 'Escape') { field.value = ''; search(''); zoom(); } });
  addEventListener('resize', draw);
  draw();
})();
