import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SenderChooser } from '../../src/domain/choose-sender.ts';

const chosen = (chooser: SenderChooser, count: number): (string | null)[] =>
  Array.from({ length: count }, () => chooser.choose(undefined));

describe('SenderChooser', () => {
  it('has nobody to offer when nobody may send', () => {
    expect(new SenderChooser([]).choose('a')).toBeNull();
  });

  it('takes turns among equals', () => {
    const chooser = new SenderChooser(['a', 'b', 'c'].map((id) => ({ id, load: 0 })));
    expect(chosen(chooser, 6).toSorted()).toEqual(['a', 'a', 'b', 'b', 'c', 'c']);
  });

  it('fills the empty ones first', () => {
    const chooser = new SenderChooser([
      { id: 'busy', load: 10 },
      { id: 'idle', load: 7 },
    ]);
    expect(chosen(chooser, 3)).toEqual(['idle', 'idle', 'idle']);
    expect(chosen(chooser, 4).toSorted()).toEqual(['busy', 'busy', 'idle', 'idle']);
  });

  it('keeps to the known sender, however loaded, and ignores one that may not send', () => {
    const chooser = new SenderChooser([
      { id: 'busy', load: 100 },
      { id: 'idle', load: 0 },
    ]);
    expect(chooser.choose('busy')).toBe('busy');
    expect(chooser.choose('gone')).toBe('idle');
  });

  it('never chooses a sender that has more before it than another', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(20), { minLength: 1, maxLength: 20 }),
        fc.array(fc.option(fc.nat(25), { nil: undefined }), { maxLength: 200 }),
        (loads, stickies) => {
          const chooser = new SenderChooser(loads.map((load, index) => ({ id: String(index), load })));
          const model = [...loads];
          for (const sticky of stickies) {
            const id = chooser.choose(sticky === undefined ? undefined : String(sticky));
            const index = Number(id);
            if (sticky !== undefined && sticky < loads.length) expect(index).toBe(sticky);
            else expect(model[index]).toBe(Math.min(...model));
            model[index] = (model[index] as number) + 1;
          }
        },
      ),
    );
  });
});
