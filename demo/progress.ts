import { type Bar, MultiBar, Presets } from 'cli-progress';

/** Something that grows to a total. */
export interface Track {
  update(value: number): void;
}

export interface Progress {
  track(label: string, total: number): Track;
  say(line: string): void;
  stop(): void;
}

const LINE_EVERY_MS = 1000;

/** Bars on a terminal, lines elsewhere (a pipe, CI). */
export const createProgress = (terminal: boolean): Progress => (terminal ? bars() : lines());

function bars(): Progress {
  const multi = new MultiBar(
    { format: '  {label} {bar} {value}/{total}', hideCursor: true, clearOnComplete: false, barsize: 40 },
    Presets.shades_classic,
  );
  return {
    track(label, total) {
      const bar: Bar = multi.create(total, 0, { label: label.padEnd(20) });
      return { update: (value) => bar.update(value) };
    },
    say: (line) => multi.log(`${line}\n`),
    stop: () => multi.stop(),
  };
}

function lines(): Progress {
  return {
    track(label, total) {
      let shown = -1;
      let shownAt = 0;
      return {
        update(value) {
          const now = performance.now();
          if (value === shown || (value < total && now - shownAt < LINE_EVERY_MS)) return;
          shown = value;
          shownAt = now;
          process.stdout.write(`  ${label} ${value}/${total}\n`);
        },
      };
    },
    say: (line) => void process.stdout.write(`${line}\n`),
    stop: () => undefined,
  };
}
