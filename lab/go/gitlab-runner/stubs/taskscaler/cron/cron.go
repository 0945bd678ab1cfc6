// Package cron says whether a moment lies in a minute that a cron expression names.
package cron

import (
	"fmt"
	"time"

	"github.com/gorhill/cronexpr"
)

// Schedule is a parsed expression with its time zone.
type Schedule struct {
	expression *cronexpr.Expression
	location   *time.Location
}

// Parse reads an expression of five fields; the zone is a name of the tz database, empty for local time.
func Parse(expression, zone string) (Schedule, error) {
	location := time.Local
	if zone != "" {
		found, err := time.LoadLocation(zone)
		if err != nil {
			return Schedule{}, fmt.Errorf("time zone %q: %w", zone, err)
		}
		location = found
	}
	parsed, err := cronexpr.Parse(expression)
	if err != nil {
		return Schedule{}, fmt.Errorf("cron expression %q: %w", expression, err)
	}
	return Schedule{expression: parsed, location: location}, nil
}

// Contains says whether the moment's minute is one of the schedule's.
func (s Schedule) Contains(moment time.Time) bool {
	minute := moment.In(s.location).Truncate(time.Minute)
	return s.expression.Next(minute.Add(-time.Second)).Equal(minute)
}
