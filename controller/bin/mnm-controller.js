#!/usr/bin/env node
import "../../dist/mnm-controller.js";
