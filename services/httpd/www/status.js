// Keeps the status page up to date from /status.json; without it the page simply shows the moment it was made.
'use strict';
const $ = id => document.getElementById(id);
const set = (id, text) => { const e = $(id); if (e && e.textContent !== String(text)) e.textContent = text; };
const bytes = n => {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let u = 0;
  while (n >= 1024 && u < 4) { n /= 1024; u++; }
  return (u && n < 100 ? (Math.floor(n * 10) / 10).toFixed(1) : Math.floor(n)) + ' ' + units[u];
};
const two = n => String(n).padStart(2, '0');
const duration = ns => {
  const s = Math.floor(ns / 1e9);
  if (s >= 86400) return Math.floor(s / 86400) + ' d ' + Math.floor(s / 3600) % 24 + ' h';
  if (s >= 3600) return Math.floor(s / 3600) + ' h ' + two(Math.floor(s / 60) % 60) + ' min';
  if (s >= 60) return Math.floor(s / 60) + ' min ' + two(s % 60) + ' s';
  return (ns / 1e9).toFixed(1) + ' s';
};
// A cell is text, a number (right aligned), {bar: permille} or {state: n, text}.
function rows(id, list) {
  const body = $(id);
  if (!body) return;
  const fresh = list.map(cells => {
    const tr = document.createElement('tr');
    for (const cell of cells) {
      const td = tr.insertCell();
      if (cell && cell.bar !== undefined) {
        td.className = 'b';
        td.appendChild(document.createElement('i')).style.setProperty('--p', cell.bar);
      } else if (cell && cell.state !== undefined) {
        const em = td.appendChild(document.createElement('em'));
        em.className = 's' + cell.state;
        em.textContent = cell.text;
      } else if (cell && cell.right !== undefined) {
        td.className = 'n';
        td.textContent = cell.right;
      } else {
        td.textContent = cell;
      }
    }
    return tr;
  });
  body.replaceChildren(...fresh);
}
const r = right => ({right});
function show(s) {
  set('uptime', duration(s.uptime_ns));
  if (s.memory) {
    set('used', bytes(s.memory.ram_bytes - s.memory.free_bytes));
    set('ram', bytes(s.memory.ram_bytes));
    set('procs', s.process_count);
    rows('cpus', s.cpus.map(c => [c.index, {bar: c.load_permille}, r((c.load_permille / 10).toFixed(1)), r(c.switches),
      r(c.syscalls), r(c.interrupts), r(c.timer_interrupts)]));
    const most = Math.max(1, ...s.memory.objects.map(o => o.bytes));
    rows('objects', s.memory.objects.map(o => [o.type, {bar: Math.floor(o.bytes * 1000 / most)}, r(bytes(o.bytes)), r(o.count)]));
    rows('processes', s.processes.map(p => [r(p.id), p.name, r(p.threads), r(p.handles), r(bytes(p.memory_bytes)),
      r((p.cpu_ns / 1e6).toFixed(1) + ' ms')]));
  }
  set('requests', s.http.requests);
  set('conns', s.http.connections);
  set('peak', s.http.connections_peak);
  if (s.services) {
    const states = ['stopped', 'running', 'backing off', 'failed'];
    rows('services', s.services.map(v => [v.name, {state: Math.max(0, states.indexOf(v.state)), text: v.state}, r(v.restarts),
      r(bytes(v.limit_bytes)), r(bytes(v.used_bytes))]));
  }
  if (s.devices) {
    rows('devices', s.devices.map(d => [d.bdf, d.class, d.vendor + ':' + d.device, d.holder || {state: 0, text: 'none'}]));
  }
  if (s.net) {
    const n = s.net;
    set('n-address', n.address);
    set('n-gateway', n.gateway);
    set('n-link', n.flags & 1 ? n.flags & 4 ? 'up, by DHCP' : 'up, fixed address' : 'down');
    set('n-rx', n.rx_frames + ' frames, ' + bytes(n.rx_bytes));
    set('n-tx', n.tx_frames + ' frames, ' + bytes(n.tx_bytes));
    set('n-dropped', n.dropped);
    set('n-open', n.tcp_open);
    set('n-wait', n.tcp_time_wait);
    set('n-accepted', n.tcp_accepted);
    set('n-restarts', n.driver_restarts);
  }
}
async function refresh() {
  try {
    const answer = await fetch('/status.json', {cache: 'no-store'});
    show(await answer.json());
    set('live', 'live');
  } catch (error) {
    set('live', 'no answer, trying again');
  }
  setTimeout(refresh, 2000);
}
setTimeout(refresh, 1000);
