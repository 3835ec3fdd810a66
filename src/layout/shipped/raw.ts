import type { Layout } from "../types.js";

export const raw: Layout = {
  name: "raw",
  description: "Datagrams that are data from end to end, joined in order of arrival",
  header: 0,
};
