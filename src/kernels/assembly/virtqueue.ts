// A virtqueue from the driver's side, split or packed: ids and descriptors, publishing, what came back, and the
// two questions of event suppression: must the device be notified, may it interrupt. What the device can write
// is read once and compared with records that it cannot reach.
import {
  RECORD_COUNT,
  RECORD_NEXT,
  RECORD_SIZE,
  RECORD_SLOTS,
  VIRTQ_ADDRESS,
  VIRTQ_AVAIL,
  VIRTQ_DESC_SIZE,
  VIRTQ_EVENT_AT,
  VIRTQ_EVENT_DISABLE,
  VIRTQ_EVENT_ENABLE,
  VIRTQ_EVENT_FLAGS,
  VIRTQ_EVENT_OFFSET,
  VIRTQ_LENGTH,
  VIRTQ_PACKED_FLAGS,
  VIRTQ_PACKED_ID,
  VIRTQ_RING_ENTRIES,
  VIRTQ_RING_FLAGS,
  VIRTQ_RING_INDEX,
  VIRTQ_SPLIT_FLAGS,
  VIRTQ_SPLIT_NEXT,
  VIRTQ_USED,
  VQ_ADDED,
  VQ_DESCS,
  VQ_DEVICE,
  VQ_DRIVER,
  VQ_EVENTS,
  VQ_FAULT,
  VQ_FAULT_ID,
  VQ_FAULT_ID_UNKNOWN,
  VQ_FAULT_INDEX,
  VQ_FLAGS,
  VQ_FREE,
  VQ_FREE_ID,
  VQ_HELD_FLAGS,
  VQ_HELD_SLOT,
  VQ_NEXT,
  VQ_OUTSTANDING,
  VQ_PACKED,
  VQ_RECORDS,
  VQ_SIZE,
  VQ_USED,
  VQ_WRAPS,
} from "../virtio-structs";

export function isPacked(queue: u32): bool {
  return (load<u32>(queue, VQ_FLAGS) & VQ_PACKED) != 0;
}

export function recordOf(queue: u32, id: u32): u32 {
  return load<u32>(queue, VQ_RECORDS) + id * RECORD_SIZE;
}

/** Stops the queue: the driver has to reset the device. */
export function breakQueue(queue: u32, fault: u32, id: u32): void {
  store<u32>(queue, fault, VQ_FAULT);
  store<u32>(queue, id, VQ_FAULT_ID);
}

// ── Ids. In a split queue an id is the number of its first descriptor, in a packed one it is free to choose.

export function takeId(queue: u32): u32 {
  const id = load<u32>(queue, VQ_FREE_ID);
  store<u32>(queue, load<u32>(recordOf(queue, id), RECORD_NEXT), VQ_FREE_ID);
  return id;
}

/** Makes an id free again that was never offered, or has come back. */
export function returnId(queue: u32, id: u32): void {
  store<u32>(recordOf(queue, id), load<u32>(queue, VQ_FREE_ID), RECORD_NEXT);
  store<u32>(queue, id, VQ_FREE_ID);
}

// ── Publishing. `begin`, then one `place` a descriptor, then `offer`; nothing is the device's before `publish`.

/** Where the next descriptor of a chain goes, and the flags that a packed slot there needs to be available. */
let slotFlags: u32 = 0;

function packedSlot(queue: u32): u32 {
  const next = load<u32>(queue, VQ_NEXT);
  const wraps = load<u32>(queue, VQ_WRAPS);
  slotFlags = (wraps & 1) != 0 ? VIRTQ_AVAIL : VIRTQ_USED;
  if (next + 1 == load<u32>(queue, VQ_SIZE)) {
    store<u32>(queue, 0, VQ_NEXT);
    store<u32>(queue, wraps ^ 1, VQ_WRAPS);
  } else store<u32>(queue, next + 1, VQ_NEXT);
  return load<u32>(queue, VQ_DESCS) + next * VIRTQ_DESC_SIZE;
}

/**
 * Writes descriptor number `index` of the chain `id`. `flags` are VIRTQ_NEXT, _WRITE, _INDIRECT. Returns the
 * split descriptor to which the next one has to be chained.
 */
export function place(
  queue: u32,
  id: u32,
  index: u32,
  previous: u32,
  iova: u64,
  length: u32,
  flags: u32,
): u32 {
  if (isPacked(queue)) {
    const at = packedSlot(queue);
    store<u64>(at, iova, VIRTQ_ADDRESS);
    store<u32>(at, length, VIRTQ_LENGTH);
    store<u16>(at, <u16>id, VIRTQ_PACKED_ID);
    const word = flags | slotFlags;
    // The device walks on until it meets a slot that is not available: the first of a batch goes last.
    if (index == 0 && load<u32>(queue, VQ_HELD_FLAGS) == 0) {
      store<u32>(queue, at, VQ_HELD_SLOT);
      store<u32>(queue, word, VQ_HELD_FLAGS);
    } else store<u16>(at, <u16>word, VIRTQ_PACKED_FLAGS);
    return 0;
  }
  const descriptor = index == 0 ? id : takeId(queue);
  const descs = load<u32>(queue, VQ_DESCS);
  const at = descs + descriptor * VIRTQ_DESC_SIZE;
  store<u64>(at, iova, VIRTQ_ADDRESS);
  store<u32>(at, length, VIRTQ_LENGTH);
  store<u16>(at, <u16>flags, VIRTQ_SPLIT_FLAGS);
  if (index != 0) {
    store<u16>(descs + previous * VIRTQ_DESC_SIZE, <u16>descriptor, VIRTQ_SPLIT_NEXT);
    store<u32>(recordOf(queue, previous), descriptor, RECORD_NEXT);
  }
  return descriptor;
}

/** Puts the chain `id` of `slots` descriptors up for `publish`. */
export function offer(queue: u32, id: u32, slots: u32): void {
  store<u32>(recordOf(queue, id), slots, RECORD_SLOTS);
  store<u32>(queue, load<u32>(queue, VQ_FREE) - slots, VQ_FREE);
  store<u32>(queue, load<u32>(queue, VQ_OUTSTANDING) + 1, VQ_OUTSTANDING);
  if (isPacked(queue)) {
    store<u32>(queue, load<u32>(queue, VQ_ADDED) + slots, VQ_ADDED);
    return;
  }
  const next = load<u32>(queue, VQ_NEXT);
  const mask = load<u32>(queue, VQ_SIZE) - 1;
  store<u16>(load<u32>(queue, VQ_DRIVER) + ((next & mask) << 1), <u16>id, VIRTQ_RING_ENTRIES);
  store<u32>(queue, next + 1, VQ_NEXT);
  store<u32>(queue, load<u32>(queue, VQ_ADDED) + 1, VQ_ADDED);
}

/** Hands everything offered to the device. */
export function publish(queue: u32): void {
  if (!isPacked(queue)) {
    atomic.store<u16>(load<u32>(queue, VQ_DRIVER) + VIRTQ_RING_INDEX, <u16>load<u32>(queue, VQ_NEXT));
    return;
  }
  const flags = load<u32>(queue, VQ_HELD_FLAGS);
  if (flags == 0) return;
  atomic.store<u16>(load<u32>(queue, VQ_HELD_SLOT) + VIRTQ_PACKED_FLAGS, <u16>flags);
  store<u32>(queue, 0, VQ_HELD_FLAGS);
}

// ── What came back.

export let usedId: u32 = 0;
export let usedLength: u32 = 0;

/** Looks at the used entry `ahead` places on (one slot each). True: usedId and usedLength say what it holds. */
export function peekUsed(queue: u32, ahead: u32): bool {
  if (load<u32>(queue, VQ_FAULT) != 0) return false;
  const size = load<u32>(queue, VQ_SIZE);
  const used = load<u32>(queue, VQ_USED);
  const outstanding = load<u32>(queue, VQ_OUTSTANDING);
  if (ahead >= outstanding) return false;
  if (isPacked(queue)) {
    const wrapped = used + ahead >= size;
    const at = load<u32>(queue, VQ_DESCS) + (wrapped ? used + ahead - size : used + ahead) * VIRTQ_DESC_SIZE;
    const wrap = ((load<u32>(queue, VQ_WRAPS) >> 1) & 1) != <u32>wrapped;
    const flags = <u32>atomic.load<u16>(at + VIRTQ_PACKED_FLAGS);
    if (((flags & VIRTQ_AVAIL) != 0) != wrap || ((flags & VIRTQ_USED) != 0) != wrap) return false;
    usedId = load<u16>(at, VIRTQ_PACKED_ID);
    usedLength = load<u32>(at, VIRTQ_LENGTH);
  } else {
    const ring = load<u32>(queue, VQ_DEVICE);
    const ready = (<u32>atomic.load<u16>(ring + VIRTQ_RING_INDEX) - used) & 0xffff;
    if (ready > outstanding) {
      breakQueue(queue, VQ_FAULT_INDEX, ready);
      return false;
    }
    if (ahead >= ready) return false;
    const at = ring + (((used + ahead) & (size - 1)) << 3);
    usedId = load<u32>(at, VIRTQ_RING_ENTRIES);
    usedLength = load<u32>(at, VIRTQ_RING_ENTRIES + 4);
  }
  if (usedId >= size || load<u32>(recordOf(queue, usedId), RECORD_COUNT) == 0) {
    breakQueue(queue, VQ_FAULT_ID_UNKNOWN, usedId);
    return false;
  }
  return true;
}

/** Takes the used entry of `id` (as peeked at 0): its descriptors and its id are free again. */
export function takeUsed(queue: u32, id: u32): void {
  const record = recordOf(queue, id);
  const slots = load<u32>(record, RECORD_SLOTS);
  store<u32>(record, 0, RECORD_COUNT);
  store<u32>(queue, load<u32>(queue, VQ_FREE) + slots, VQ_FREE);
  store<u32>(queue, load<u32>(queue, VQ_OUTSTANDING) - 1, VQ_OUTSTANDING);
  const used = load<u32>(queue, VQ_USED);
  if (isPacked(queue)) {
    const size = load<u32>(queue, VQ_SIZE);
    if (used + slots >= size) {
      store<u32>(queue, used + slots - size, VQ_USED);
      store<u32>(queue, load<u32>(queue, VQ_WRAPS) ^ 2, VQ_WRAPS);
    } else store<u32>(queue, used + slots, VQ_USED);
    returnId(queue, id);
    return;
  }
  store<u32>(queue, used + 1, VQ_USED);
  let descriptor = id;
  for (let left = slots; left != 0; left--) {
    const next = load<u32>(recordOf(queue, descriptor), RECORD_NEXT);
    returnId(queue, descriptor);
    descriptor = next;
  }
}

// ── Event suppression.

/** Must the device be told of what was published since this was last asked? */
export function virtqueueKick(queue: u32): bool {
  const added = load<u32>(queue, VQ_ADDED);
  if (added == 0) return false;
  store<u32>(queue, 0, VQ_ADDED);
  const next = load<u32>(queue, VQ_NEXT);
  const size = load<u32>(queue, VQ_SIZE);
  const device = load<u32>(queue, VQ_DEVICE);
  if (isPacked(queue)) {
    const flags = <u32>atomic.load<u16>(device + VIRTQ_EVENT_FLAGS);
    if (flags != VIRTQ_EVENT_AT) return flags == VIRTQ_EVENT_ENABLE;
    const wanted = <u32>load<u16>(device, VIRTQ_EVENT_OFFSET);
    let event = wanted & 0x7fff;
    if (wanted >> 15 != (load<u32>(queue, VQ_WRAPS) & 1)) event -= size;
    return ((next - event - 1) & 0xffff) < added;
  }
  if ((load<u32>(queue, VQ_FLAGS) & VQ_EVENTS) == 0)
    return (atomic.load<u16>(device + VIRTQ_RING_FLAGS) & 1) == 0;
  const event = <u32>atomic.load<u16>(device + VIRTQ_RING_ENTRIES + (size << 3));
  return ((next - event - 1) & 0xffff) < added;
}

/**
 * Lets the device interrupt at the next used entry, or asks it not to. True: something is there already, so
 * there is nothing to wait for.
 */
export function virtqueueArm(queue: u32, on: bool): bool {
  const used = load<u32>(queue, VQ_USED);
  const driver = load<u32>(queue, VQ_DRIVER);
  const events = (load<u32>(queue, VQ_FLAGS) & VQ_EVENTS) != 0;
  if (isPacked(queue)) {
    const wrap = (load<u32>(queue, VQ_WRAPS) >> 1) & 1;
    store<u16>(driver, <u16>(used | (wrap << 15)), VIRTQ_EVENT_OFFSET);
    const enable = events ? VIRTQ_EVENT_AT : VIRTQ_EVENT_ENABLE;
    atomic.store<u16>(driver + VIRTQ_EVENT_FLAGS, <u16>(on ? enable : VIRTQ_EVENT_DISABLE));
  } else if (events) {
    const event = driver + VIRTQ_RING_ENTRIES + (load<u32>(queue, VQ_SIZE) << 1);
    // An index just passed is not met again before the ring has gone round.
    atomic.store<u16>(event, <u16>(on ? used : used - 1));
  } else atomic.store<u16>(driver + VIRTQ_RING_FLAGS, <u16>(on ? 0 : 1));
  return on && (peekUsed(queue, 0) || load<u32>(queue, VQ_FAULT) != 0);
}
