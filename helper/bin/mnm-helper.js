#!/usr/bin/env node
import "../../dist/mnm-helper.js";
