import { testEdu } from "./edu-suite.js";

testEdu("edu@model", 1 << 20, 4096);
