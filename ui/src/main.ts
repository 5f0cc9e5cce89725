import { mount } from "svelte";
import App from "./App.svelte";
import { takeTokenFromAddress } from "./session.ts";
import "uplot/dist/uPlot.min.css";
import "./app.css";

takeTokenFromAddress();
const target = document.getElementById("app");
if (target !== null) mount(App, { target });
