# needs: java
exec java -version
