/* The sub-commands: each runs to its end and prints its results. */

#ifndef LOAD_COMMANDS_H
#define LOAD_COMMANDS_H

#include "options.h"

void run_echo(const options *chosen);
void run_pace(const options *chosen);
void run_fanout(const options *chosen);
void run_connect(const options *chosen);
void run_idle(const options *chosen);
void run_resume(const options *chosen);
void run_storm(const options *chosen);

#endif
