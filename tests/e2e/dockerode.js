// What test_docker_clients.py does through dockerode: prints one JSON object. Arguments: socket path.
const Docker = require('dockerode');
const {PassThrough} = require('stream');

const docker = new Docker({socketPath: process.argv[2]});
const web = docker.getContainer('e2e-web-1');

// The bytes of STREAM until it ends.
function all(stream) {
  return new Promise((resolve, reject) => {
    const pieces = [];
    stream.on('data', (piece) => pieces.push(piece));
    stream.on('end', () => resolve(Buffer.concat(pieces).toString()));
    stream.on('error', reject);
  });
}

function until(stream, enough) {
  return new Promise((resolve, reject) => {
    let text = '';
    stream.on('data', (piece) => {
      text += piece;
      if (enough(text)) resolve(text);
    });
    stream.on('end', () => reject(new Error(`it ended after ${JSON.stringify(text)}`)));
    stream.on('error', reject);
  });
}

async function run(command, options = {}, start = {}) {
  const exec = await web.exec({Cmd: command, AttachStdout: true, AttachStderr: true, ...options});
  return {exec, stream: await exec.start({hijack: true, stdin: false, ...start})};
}

// Both streams of a session, taken apart by dockerode.
async function demuxed(command) {
  const {exec, stream} = await run(command);
  const out = new PassThrough(), err = new PassThrough();
  web.modem.demuxStream(stream, out, err);
  const texts = [all(out), all(err)];
  stream.on('end', () => { out.end(); err.end(); });
  const [stdout, stderr] = await Promise.all(texts);
  return {stdout, stderr, code: (await exec.inspect()).ExitCode};
}

async function typed() {
  const {exec, stream} = await run(['cat'], {AttachStdin: true}, {stdin: true});
  const out = new PassThrough();
  web.modem.demuxStream(stream, out, out);
  stream.on('end', () => out.end());
  const answer = all(out);
  stream.write('one\n');
  stream.end('two\n');  // half-close: cat ends, its output still comes
  return {output: await answer, code: (await exec.inspect()).ExitCode};
}

async function terminal() {
  const {exec, stream} = await run(['sh'], {AttachStdin: true, Tty: true}, {stdin: true, Tty: true});
  await until(stream, (text) => text.includes('# '));
  await exec.resize({h: 41, w: 121});
  stream.write('stty size\r');
  const size = await until(stream, (text) => /\d+ \d+\r/.test(text));
  stream.write('exit 5\r');
  await all(stream);
  return {size: /(\d+ \d+)\r/.exec(size)[1], code: (await exec.inspect()).ExitCode};
}

async function events() {
  const stream = await docker.getEvents({filters: {container: ['e2e-web-1'], event: ['pause', 'unpause']}});
  const seen = until(stream, (text) => text.split('\n').length > 2);
  await web.pause();
  await web.unpause();
  const lines = (await seen).trim().split('\n').map((line) => JSON.parse(line).Action);
  stream.destroy();
  return lines;
}

async function logs() {
  const whole = await web.logs({stdout: true, stderr: true, tail: 1});
  const stream = await web.logs({stdout: true, follow: true, tail: 0});
  const out = new PassThrough();
  web.modem.demuxStream(stream, out, out);
  const text = await until(out, (got) => (got.match(/line \d+\n/g) || []).length >= 2);
  stream.destroy();
  return {last: whole.slice(8).toString(), followed: text};
}

async function stats() {
  const once = await web.stats({stream: false});
  const stream = await web.stats({stream: true});
  const line = await until(stream, (text) => text.includes('\n'));
  stream.destroy();
  return {name: once.name, pids: once.pids_stats.current, streamed: JSON.parse(line.split('\n')[0]).name};
}

async function refused() {
  try {
    await docker.getContainer('nosuch').inspect();
  } catch (error) {
    return {status: error.statusCode, message: error.json.message};
  }
  return null;
}

async function main() {
  const listed = await docker.listContainers({all: true, filters: {label: ['tier=front'], health: ['healthy']}});
  const top = await web.top({ps_args: 'aux'});
  return {
    listed: listed.map((one) => one.Names[0]),
    version: (await docker.version()).ApiVersion,
    info: (await docker.info()).Containers,
    health: (await web.inspect()).State.Health.Status,
    top: top.Titles[0],
    demuxed: await demuxed(['sh', '-c', 'echo out; echo err >&2; exit 3']),
    missing: await demuxed(['nosuch']),
    typed: await typed(),
    terminal: await terminal(),
    events: await events(),
    logs: await logs(),
    stats: await stats(),
    refused: await refused(),
  };
}

main().then((result) => {
  console.log(JSON.stringify(result));
  process.exit(0);
}, (error) => {
  console.error(error);
  process.exit(1);
});
