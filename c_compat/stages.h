/* Which stages of {:error, errno, stage} the scenarios provoke, and STAGES.md, which says why they do
   not provoke the others. */
#ifndef STAGES_H
#define STAGES_H

#include "scenario.h"

/* Prints them; false when STAGES.md names one that is provoked. */
bool stages_report(const struct scenarios *, const char *directory);

#endif
