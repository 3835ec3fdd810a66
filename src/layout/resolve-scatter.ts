import { layoutError } from "./parse.js";
import type { Read } from "./plan.js";
import { field, type Path, parameterValues, type Scope } from "./resolve-read.js";
import type { ControlForm, Layout, LayoutRules, Setting } from "./types.js";

export interface PlannedSetting {
  readonly setting: Setting;
  readonly read: Read;
}

export interface PlannedControl {
  readonly form: ControlForm;
  readonly set: readonly PlannedSetting[];
}

/** What scatter sends beside the data, in one case of a layout. */
export interface PlannedScatter {
  readonly set: readonly PlannedSetting[];
  readonly before: readonly PlannedControl[];
  readonly after: readonly PlannedControl[];
  readonly stop: readonly PlannedControl[];
  readonly step: number;
  /** Names that control datagrams and settings ask the user for. */
  readonly words: readonly string[];
}

/** Resolves what a layout says of scatter for the case of this number. */
export function planSettings(
  layout: Layout,
  number: number,
  parameters: Readonly<Record<string, number>> = {},
): PlannedScatter {
  const one = number === 0 ? layout : (layout.cases?.[number - 1] ?? layout);
  const own = one.scatter !== undefined;
  const scatter = (own ? one.scatter : layout.scatter) ?? {};
  const path: Path = own && number > 0 ? ["cases", number - 1, "scatter"] : ["scatter"];
  const merged: LayoutRules = { ...layout, ...one };
  const scope: Scope = {
    units: parameterValues(layout, parameters),
    items: merged.items ?? undefined,
    wanted: new Set(),
    data: false,
  };
  const settings = (set: readonly Setting[], where: Path) =>
    set.map((setting, index) => ({ setting, read: field(setting.field, [...where, index, "field"], scope) }));
  const controls = (key: "before" | "after" | "stop") =>
    (scatter[key] ?? []).map((form, index) => {
      const where = [...path, key, index, "set"];
      const set = settings(form.set, where);
      set.forEach(({ read }, at) => {
        if (
          read.kind !== "bytes" ||
          read.at.terms.length > 0 ||
          read.at.base + read.bytes > form.bytes ||
          read.from !== "start"
        )
          throw layoutError(
            [...where, at, "field"],
            `expected a field within the ${form.bytes} bytes of the datagram`,
          );
      });
      return { form, set };
    });
  const before = controls("before");
  const after = controls("after");
  const stop = controls("stop");
  const set = settings(scatter.set ?? [], [...path, "set"]);
  const all = [...set, ...[...before, ...after, ...stop].flatMap((control) => control.set)];
  const words = all.flatMap(({ setting }) => (typeof setting.to === "string" ? [setting.to] : []));
  const conditions = [...before, ...after, ...stop].flatMap(({ form }) =>
    [form.if ?? [], form.unless ?? []].flat(),
  );
  return {
    set,
    before,
    after,
    stop,
    step: scatter.step ?? 1,
    words: [...new Set([...words, ...conditions])],
  };
}
